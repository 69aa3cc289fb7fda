"""What single layers keep of an image: figure 1 of Gatys, Ecker, Bethge (CVPR 2016).

python scripts/reconstruct.py --content photo.jpg --style painting.jpg --output out/

The content is reconstructed from each layer alone, the style from the first layer, the first two,
and so on. out/reconstructions.png is the figure; the single pictures stand in out/images/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from core.config import load_config
from core.errors import UserError
from core.jobs.stylize import Showing, StyleJob, draw_reconstructions, stylize_one
from core.runtime import cli, distributed
from families import STYLIZERS
from style.neural.reconstruct import Kind, reconstructions
from style.neural.stylizer import NeuralStyle

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "style" / "neural_random.yaml"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG, help="of neural style")
    parser.add_argument("--content", type=Path, help="image whose content is reconstructed")
    parser.add_argument("--style", type=Path, help="image whose style is reconstructed")
    parser.add_argument("--layers", nargs="+", help="default: the config's style layers")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--resume", action="store_true", help="go on with what --output holds")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser.parse_args(argv)


def reconstruct(args: argparse.Namespace) -> int:
    """One optimisation for each layer of each image, then the figure."""
    config = load_config(args.config, STYLIZERS, args.set)
    if config.family != NeuralStyle.name:
        raise UserError(
            f"{args.config}: family {config.family}; reconstructions are neural_style's"
        )
    if args.content is None and args.style is None:
        raise UserError("--content or --style is needed")
    device = distributed.start(args.device).device
    showing = Showing(every=0, resume=args.resume)
    rows: list[list[Path]] = []
    kinds: tuple[tuple[Kind, Path | None], ...] = (("content", args.content), ("style", args.style))
    for kind, image in kinds:
        if image is None:
            continue
        row = [image]
        for name, alone in reconstructions(config, kind, args.layers):
            stylizer, job = NeuralStyle.build(alone, device), StyleJob(name, image, (image,))
            row.append(stylize_one(stylizer, job, alone, args.output, showing))
        rows.append(row)
    print(draw_reconstructions(rows, args.output))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: reconstruct(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
