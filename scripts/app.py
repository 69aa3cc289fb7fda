"""Try translators in the browser: `python scripts/app.py --runs runs/`.

Needs gradio (`pip install -e '.[app]'`). The page is for this machine alone unless --host says
otherwise.
"""

from functools import partial
from pathlib import Path

from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: for everyone who can reach")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    cli.add(parser, "--speed", "--device")


def serve(args: cli.Args) -> None:
    """Find runs, serve the page."""
    from core.inference.app import Demo, build_page, find_runs, launch
    from core.runtime.distributed import pick_device
    from families import FAMILIES

    runs, device = find_runs(args.runs, FAMILIES), pick_device(args.device)
    page = build_page(Demo(runs, device, FAMILIES, args.speed))
    launch(page, args.host, args.port)
    page.block_thread()


main = partial(cli.main, __doc__, options, serve)

if __name__ == "__main__":
    raise SystemExit(main())
