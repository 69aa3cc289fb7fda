"""Write a translator as ONNX: `python scripts/export.py --checkpoint RUN --output exported/`.

One file per direction, `<name>_<direction>.onnx`, for any batch and image size; each is compared
with our own results before it is written. See docs/evaluation.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from core.convert.onnx import export_onnx
from core.runtime import cli
from families import load


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="file or run folder")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    parser.add_argument("--direction", choices=["AtoB", "BtoA"], help="default: all there are")
    parser.add_argument(
        "--eval", action="store_true", help="pix2pix: no dropout, running batch norm statistics"
    )
    return parser.parse_args(argv)


def export(args: argparse.Namespace) -> int:
    """Load, export, report."""
    mode: Literal["eval", "published"] = "eval" if args.eval else "published"
    translator = load(args.checkpoint, "cpu", test_mode=mode)
    name = translator.family.config.name.replace("/", "_")
    directions = translator.directions
    if args.direction:
        directions = (translator.check_direction(args.direction),)
    for direction in directions:
        done = export_onnx(translator, direction, args.output / f"{name}_{direction}.onnx")
        sizes = ", ".join("x".join(map(str, shape)) for shape in done.shapes)
        print(f"{done.path}: differs from ours by {done.difference:.1e} at most ({sizes})")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: export(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
