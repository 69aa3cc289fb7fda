"""Look a data set over before training: `python scripts/check_data.py DIR`.

Says what layout it has, how many images of which sizes, which cannot be read, and what to fix.
"""

from __future__ import annotations

import argparse

from core.data.check import check_folder
from core.runtime import cli


def check(folder: str) -> int:
    """Print the report; 0 where the data set can be used as it is, 2 otherwise."""
    report = check_folder(folder)
    print("\n".join(report.lines()))
    return 0 if report.usable else 2


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for a data set with problems."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="DIR", help="the data set's folder (data.root)")
    args = parser.parse_args(argv)
    return cli.run(lambda: check(args.folder))


if __name__ == "__main__":
    raise SystemExit(main())
