"""Official checkpoints both ways.

To ours:    python scripts/convert.py --family cyclegan --input latest_net_G.pth --output zebra.pt
From ours:  python scripts/convert.py --export runs/cyclegan/horse2zebra --output official/
"""

from __future__ import annotations

import argparse
from pathlib import Path

from core.convert.official import export_official, import_official
from core.runtime import cli
from families import FAMILIES, OFFICIAL


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, help=".pth file, or folder of *_net_*.pth")
    source.add_argument("--export", type=Path, metavar="CHECKPOINT", help="our file or run folder")
    parser.add_argument("--family", choices=sorted(OFFICIAL), help="with --input")
    parser.add_argument(
        "--direction", choices=["AtoB", "BtoA"], default="AtoB", help="of a single generator"
    )
    parser.add_argument("--output", type=Path, required=True, help="our file, or official folder")
    args = parser.parse_args(argv)
    if args.input and not args.family:
        parser.error("--input needs --family")
    return args


def convert(args: argparse.Namespace) -> int:
    """Read one layout, write the other."""
    if args.export:
        written = export_official(args.export, args.output, FAMILIES, OFFICIAL)
    else:
        module = OFFICIAL[args.family]
        written = [import_official(args.input, args.output, module, args.direction)]
    for path in written:
        print(path)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: convert(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
