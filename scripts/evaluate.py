"""Measure a model: `python scripts/evaluate.py --checkpoint RUN --data datasets/horse2zebra`.

Prints a table per direction and writes it as JSON. Of families that make images from noise (dcgan,
wgan) samples are compared with the real images. What is measured, and where the weights behind FID,
KID and LPIPS come from, is in docs/evaluation.md.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from core.runtime import cli


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.parser(__doc__)
    cli.add(parser, "--checkpoint", "--which")
    parser.add_argument("--data", type=Path, help="data set; default: the one trained on")
    cli.add(parser, "--output", required=False, help="JSON file; default: beside the checkpoint")
    cli.add(parser, "--preprocess", default="official")
    cli.add(parser, "--max-images")
    parser.add_argument("--num-styles", type=int, default=10, metavar="N", help="default: 10")
    parser.add_argument("--kid-subset-size", type=int, default=100, help="default: 100")
    parser.add_argument(
        "--weights", metavar="DIR", help="of FID, KID and LPIPS; default: torch.hub's folder"
    )
    cli.add(parser, "--download", "--precision", "--eval", "--device")
    args = parser.parse_args(argv)
    cli.require_at_least(args, max_images=1, num_styles=2, kid_subset_size=2)
    return args


def measure(args: argparse.Namespace) -> None:
    """Load, measure, report."""
    from core.checkpoints.which import choose
    from core.evaluation.metrics.weights import fetch_missing
    from core.evaluation.record import evaluate
    from core.options import EvaluateOptions
    from core.runtime import distributed
    from families import FAMILIES

    options = EvaluateOptions(
        max_images=args.max_images,
        num_styles=args.num_styles,
        kid_subset_size=args.kid_subset_size,
        weights=args.weights,
    )
    if args.download:
        fetch_missing(args.weights)
    found, file = evaluate(
        choose(args.checkpoint, args.which),
        FAMILIES,
        options,
        distributed.start(args.device).device,
        data=args.data,
        preprocess=args.preprocess,
        precision=args.precision,
        test_mode=args.test_mode,
        output=args.output,
    )
    print(f"{found}\n{file}")


main = partial(cli.main, parse, measure)

if __name__ == "__main__":
    raise SystemExit(main())
