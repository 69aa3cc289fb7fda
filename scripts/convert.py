"""Official checkpoints both ways.

To ours:    python scripts/convert.py --family cyclegan --input latest_net_G.pth --output zebra.pt
From ours:  python scripts/convert.py --export runs/cyclegan/horse2zebra --output official/
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from core.errors import UserError
from core.runtime import cli


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, help=".pth file, or folder of *_net_*.pth")
    source.add_argument("--export", type=Path, metavar="CHECKPOINT", help="our file or run folder")
    parser.add_argument("--family", help="with --input, e.g. cyclegan")
    cli.add(parser, "--direction", default="AtoB", help="of a single generator")
    cli.add(parser, "--which")
    cli.add(parser, "--output", help="our file, or official folder")
    args = parser.parse_args(argv)
    if args.input and not args.family:
        parser.error("--input needs --family")
    return args


def convert(args: argparse.Namespace) -> None:
    """Read one layout, write the other, print the files."""
    from core.checkpoints.which import choose
    from core.convert.official import export_official, import_official
    from families import FAMILIES, OFFICIAL

    if args.export:
        written = export_official(choose(args.export, args.which), args.output, FAMILIES, OFFICIAL)
    elif args.family in OFFICIAL:
        module = OFFICIAL[args.family]
        written = [import_official(args.input, args.output, module, args.direction)]
    else:
        raise UserError(f"--family {args.family}: give one of {', '.join(sorted(OFFICIAL))}")
    for path in written:
        print(path)


main = partial(cli.main, parse, convert)

if __name__ == "__main__":
    raise SystemExit(main())
