"""Try translators in the browser: `python scripts/app.py --runs runs/`.

Needs gradio (`pip install -e '.[app]'`). The page is for this machine alone unless --host says
otherwise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from core.inference.app import Demo, build_page, find_runs, launch
from core.inference.loading import pick_device
from core.runtime import cli
from families import FAMILIES


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: for everyone who can reach")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser.parse_args(argv)


def app(args: argparse.Namespace) -> int:
    """Find runs, serve the page."""
    page = build_page(Demo(find_runs(args.runs), pick_device(args.device), FAMILIES))
    launch(page, args.host, args.port)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: app(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
