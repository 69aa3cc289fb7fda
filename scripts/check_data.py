"""Look a data set over before training: python scripts/check_data.py DIR."""

from __future__ import annotations

import argparse
import sys

from core.data.check import check_folder
from core.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Print what a folder holds and what to fix.

    Returns:
        0 where the data set can be used as it is, 2 otherwise.
    """
    parser = argparse.ArgumentParser(
        description="Says what layout a data set has, how many images of which sizes it holds, "
        "which of them cannot be read, and what to fix. Decodes every image."
    )
    parser.add_argument("folder", metavar="DIR", help="the data set's folder (data.root)")
    try:
        report = check_folder(parser.parse_args(argv).folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(report.lines()))
    return 0 if report.usable else 2


if __name__ == "__main__":
    raise SystemExit(main())
