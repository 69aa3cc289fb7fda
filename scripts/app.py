"""Try translators in the browser: `python scripts/app.py --runs runs/`.

Without runs there is the stylizer that the project carries.
Needs gradio (`pip install -e '.[app]'`). The page is for this machine alone unless --host says
otherwise.
"""

from functools import partial
from pathlib import Path

from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("--runs", type=Path, help="folder of runs; default: only what is carried")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: for everyone who can reach")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    cli.add(parser, "--speed", "--device")


def serve(args: cli.Args) -> None:
    """Find runs, add what the project carries, serve the page."""
    from core.inference.app import Demo, build_page, find_runs, launch
    from core.runtime.distributed import pick_device
    from families import CARRIED, FAMILIES

    runs = find_runs(args.runs, FAMILIES) if args.runs is not None else {}
    demo = Demo(runs | CARRIED, pick_device(args.device), FAMILIES, args.speed)
    page = build_page(demo)
    launch(page, args.host, args.port)
    page.block_thread()


main = partial(cli.main, __doc__, options, serve)

if __name__ == "__main__":
    raise SystemExit(main())
