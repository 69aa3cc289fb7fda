"""Checkpoints of other codes to ours, ours to official ones, and either to safetensors.

To ours:    python scripts/convert.py --family cyclegan --input latest_net_G.pth --output zebra.pt
From ours:  python scripts/convert.py --export runs/cyclegan/horse2zebra --output official/
With `--format safetensors` either writes one file that `families.load` reads. See
docs/checkpoints.md.
"""

from functools import partial
from pathlib import Path

from core.errors import UserError
from core.runtime import cli

FORMAT = "instead of our file (--input) or official files (--export)"
NETWORK = "which of several in the file; two names are both directions of a cyclegan"
NORM = "what the file may not show: its norms"
PADDING = "what the file may not show: how convolutions pad"


def options(parser: cli.Parser) -> None:
    """Add the options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, help="file of another code, or folder of *_net_*.pth")
    source.add_argument("--export", type=Path, metavar="CHECKPOINT", help="our file or run folder")
    parser.add_argument("--family", help="with --input, e.g. cyclegan")
    cli.add(parser, "--direction", default="AtoB", help="of a single generator")
    cli.add(parser, "--which")
    cli.add(parser, "--output", help="our file, or official folder")
    parser.add_argument("--format", choices=["safetensors"], help=FORMAT)
    foreign = parser.add_argument_group("a generator of another code (cyclegan, pix2pix)")
    foreign.add_argument("--network", nargs="+", default=[], metavar="NAME", help=NETWORK)
    foreign.add_argument("--norm", choices=["instance", "none"], help=NORM)
    foreign.add_argument("--padding", choices=["reflect"], help=PADDING)


def convert(args: cli.Args) -> None:
    """Read one form, write the other, print what was recognised and the files."""
    if args.input and not args.family:
        raise UserError("--input needs --family")
    from core.checkpoints.which import choose
    from core.convert.official import export_official, export_safetensors, import_official
    from core.convert.structure import Told
    from families import FAMILIES, OFFICIAL

    safetensors, written = args.format == "safetensors", list[object]()
    if args.export and safetensors:
        written = [export_safetensors(choose(args.export, args.which), args.output, FAMILIES)]
    elif args.export:
        checkpoint = choose(args.export, args.which)
        written = [*export_official(checkpoint, args.output, FAMILIES, OFFICIAL)]
    elif args.family in OFFICIAL:
        path, recognised = import_official(
            args.input,
            args.output,
            FAMILIES[args.family],
            OFFICIAL[args.family],
            args.direction,
            Told(args.norm, args.padding == "reflect"),
            args.network,
            safetensors=safetensors,
        )
        written = [*recognised, path]
    else:
        raise UserError(f"--family {args.family}: give one of {', '.join(sorted(OFFICIAL))}")
    print(*written, sep="\n")


main = partial(cli.main, __doc__, options, convert)

if __name__ == "__main__":
    raise SystemExit(main())
