"""Look a data set over before training: `python scripts/check_data.py DIR`.

Says what layout it has, how many images of which sizes, which cannot be read, and what to fix. The
exit code is 0 where the data set can be used as it is, 2 otherwise.
"""

from functools import partial
from pathlib import Path

from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("folder", metavar="DIR", help="the data set's folder (data.root)")
    moved = "first move this share of train to test"
    parser.add_argument("--split", type=float, metavar="SHARE", help=moved)
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw images of each folder here")
    cli.add(parser, "--max-pixels")


def check(args: cli.Args) -> int:
    """Print the report."""
    from core.data.check import check_folder
    from core.data.images import set_max_pixels
    from core.data.listing import expanded
    from core.data.split import split_off

    set_max_pixels(args.max_pixels)
    if args.split is not None:
        print("\n".join(split_off(expanded(args.folder), args.split)))
    report = check_folder(args.folder)
    print("\n".join(report.lines()))
    if args.sheet is not None:
        from core.jobs.contact_sheet import write_contact_sheet

        write_contact_sheet(report.parts, args.sheet)
    return 0 if report.usable else 2


main = partial(cli.main, __doc__, options, check)

if __name__ == "__main__":
    raise SystemExit(main())
