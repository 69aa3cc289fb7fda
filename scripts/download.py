"""Fetch a published data set or released generator.

python scripts/download.py --list
python scripts/download.py horse2zebra                  # -> datasets/horse2zebra/
python scripts/download.py pix2pix/facades              # cyclegan has a facades too
python scripts/download.py horse2zebra_pretrained       # -> checkpoints/horse2zebra_pretrained/
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.convert.download import CATALOGUE, SERVER, download
from core.errors import UserError


def parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    made = argparse.ArgumentParser(description="Fetch a published data set or released generator.")
    made.add_argument("name", nargs="?", help="data set, or <model>_pretrained; see --list")
    made.add_argument("--list", action="store_true", help="show all names and where they end up")
    made.add_argument("--output", type=Path, help="folder (default: datasets or checkpoints)")
    made.add_argument(
        "--mirror", default=SERVER, help="server laid out like the original, or the file's address"
    )
    made.add_argument("--sha256", help="digest the file must have")
    made.add_argument("--force", action="store_true", help="replace what is there")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the script; returns its exit code: 0, 2 after a user's error, 130 after Ctrl-C."""
    options = parser()
    args = options.parse_args(argv)
    if args.list:
        for item in CATALOGUE:
            name = f"{item.family}/{item.name}"
            print(f"{name:42} {item.kind:10} {item.destination(item.default_output)}")
        return 0
    if args.name is None:
        options.error("give a name, or --list")
    try:
        done = download(
            args.name,
            output=args.output,
            mirror=args.mirror,
            sha256=args.sha256,
            force=args.force,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    verdict = "as expected" if done.pinned else "unverified; pin it with --sha256 if you trust it"
    print(f"{done.path}: ready, {done.num_bytes} bytes, SHA-256 {done.sha256} ({verdict})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
