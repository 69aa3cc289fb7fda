"""Measure a model: `python scripts/evaluate.py --checkpoint RUN --data datasets/horse2zebra`.

Prints a table per direction and writes it as JSON. Of families that make images from noise (dcgan,
wgan) samples are compared with the real images. What is measured, and where the weights behind FID,
KID and LPIPS come from, is in docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Literal

from core.errors import UserError
from core.evaluation.image_set import find_evaluation_set
from core.evaluation.metrics.weights import default_folder, fetch_missing
from core.evaluation.model import Evaluator
from core.evaluation.samples import evaluate_samples
from core.family import GenerativeFamily, TranslationFamily
from core.inference.loading import load_family
from core.inference.sampler import Sampler
from core.inference.translator import Translator
from core.options import EvaluateOptions
from core.report.pictures import write_file
from core.runtime import cli, distributed
from families import FAMILIES


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    defaults = EvaluateOptions()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="file or run folder")
    parser.add_argument("--data", type=Path, help="data set; default: the one trained on")
    parser.add_argument("--output", type=Path, help="JSON file; default: beside the checkpoint")
    parser.add_argument(
        "--preprocess",
        choices=["official", "none"],
        default="official",
        help="official: resize to the training crop_size, as the published test does",
    )
    parser.add_argument("--max-images", type=int, metavar="N", help="per domain; default: all")
    parser.add_argument("--num-styles", type=int, default=defaults.num_styles, metavar="N")
    parser.add_argument("--kid-subset-size", type=int, default=defaults.kid_subset_size)
    parser.add_argument(
        "--weights", metavar="DIR", help=f"of FID, KID and LPIPS; default: {default_folder()}"
    )
    parser.add_argument("--download", action="store_true", help="fetch the weights not there")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument(
        "--eval", action="store_true", help="pix2pix: no dropout, running batch norm statistics"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser.parse_args(argv)


def evaluate(args: argparse.Namespace) -> int:
    """Load, measure, report."""
    for option, least in (("max_images", 1), ("num_styles", 2), ("kid_subset_size", 2)):
        value = getattr(args, option)
        if value is not None and value < least:
            raise UserError(f"--{option.replace('_', '-')} {value}: at least {least}")
    options = EvaluateOptions(
        max_images=args.max_images,
        num_styles=args.num_styles,
        kid_subset_size=args.kid_subset_size,
        weights=args.weights,
    )
    if args.download:
        fetch_missing(Path(args.weights).expanduser() if args.weights else None)
    mode: Literal["eval", "published"] = "eval" if args.eval else "published"
    family, file, _ = load_family(args.checkpoint, FAMILIES)
    config, device = family.config, distributed.start(args.device).device
    root = args.data or Path(config.data.root)
    if isinstance(family, GenerativeFamily):
        result = evaluate_samples(Sampler(family, device, args.precision), root, options)
    elif isinstance(family, TranslationFamily):
        translator = Translator(family, device, args.precision, mode)
        test_set = find_evaluation_set(root, translator, args.preprocess, options.max_images)
        result = Evaluator(translator, test_set, options)()
    else:
        raise UserError(f"{file}: {family.name} neither translates nor draws from noise")
    print(result)
    record = {
        "checkpoint": str(file),
        "name": config.name,
        "data": str(root),
        "preprocess": args.preprocess,
        "test_mode": mode,
        "options": options.model_dump(mode="json", exclude={"every"}),
        **result.tree(),
    }
    output = args.output or file.with_suffix(".evaluation.json")
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(output, lambda stream: stream.write(text.encode()))
    print(output)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: evaluate(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
