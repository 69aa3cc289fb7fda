"""Write a translator as ONNX: `python scripts/export.py --checkpoint RUN --output exported/`.

One file per direction, `<name>_<direction>.onnx`, for any batch and image size; each is compared
with our own results before it is written. See docs/evaluation.md.
"""

from __future__ import annotations

import argparse
from functools import partial

from core.runtime import cli


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.parser(__doc__)
    cli.add(parser, "--checkpoint", "--which", "--output", "--eval")
    cli.add(parser, "--direction", help="default: all there are")
    return parser.parse_args(argv)


def export(args: argparse.Namespace) -> None:
    """Load, export, report."""
    from core.checkpoints.which import choose
    from core.convert.onnx import export_onnx
    from families import load

    translator = load(choose(args.checkpoint, args.which), "cpu", test_mode=args.test_mode)
    name = translator.family.config.name.replace("/", "_")
    for direction in [args.direction] if args.direction else translator.directions:
        done = export_onnx(translator, direction, args.output / f"{name}_{direction}.onnx")
        sizes = ", ".join("x".join(map(str, shape)) for shape in done.shapes)
        print(f"{done.path}: differs from ours by {done.difference:.1e} at most ({sizes})")


main = partial(cli.main, parse, export)

if __name__ == "__main__":
    raise SystemExit(main())
