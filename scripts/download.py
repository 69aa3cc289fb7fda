"""Fetch a published data set or released generator.

python scripts/download.py --list
python scripts/download.py horse2zebra                  # -> datasets/horse2zebra/
python scripts/download.py pix2pix/facades              # cyclegan has a facades too
python scripts/download.py horse2zebra_pretrained       # -> checkpoints/horse2zebra_pretrained/
"""

import sys
from functools import partial
from pathlib import Path

from core.errors import UserError
from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("name", nargs="?", help="data set, or <model>_pretrained; see --list")
    parser.add_argument("--list", action="store_true", help="show all names and where they end up")
    parser.add_argument("--output", type=Path, help="folder (default: datasets or checkpoints)")
    parser.add_argument("--mirror", help="server laid out like the original, or the file's address")
    parser.add_argument("--sha256", help="digest the file must have")
    parser.add_argument("--force", action="store_true", help="replace what is there")


def fetch(args: cli.Args) -> None:
    """List what is published, or fetch one of it."""
    if args.name is None and not args.list:
        raise UserError("give a name, or --list")
    from core.convert.download import CATALOGUE, SERVER, download

    if args.list:
        for item in CATALOGUE:
            name = f"{item.family}/{item.name}"
            print(f"{name:42} {item.kind:10} {item.destination(item.default_output)}")
        return
    choice = {"output": args.output, "sha256": args.sha256, "force": args.force}
    try:
        done = download(args.name, mirror=args.mirror or SERVER, **choice)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        raise
    verdict = "as expected" if args.sha256 else "unverified; pin it with --sha256 if you trust it"
    print(f"{done.path}: ready, {done.num_bytes} bytes, SHA-256 {done.sha256} ({verdict})")


main = partial(cli.main, __doc__, options, fetch)

if __name__ == "__main__":
    raise SystemExit(main())
