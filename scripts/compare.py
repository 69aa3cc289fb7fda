"""Compare methods: `python scripts/compare.py --config configs/compare/demo.yaml`.

Translates the same test images with every entry of the config, trains first what is not trained,
and writes one page of pictures, tables and plots. Ctrl-C saves and stops a training; the same
command goes on. See docs/compare.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from core.compare.comparison import compare, update_readme
from core.compare.config import Comparison
from core.compare.tables import markdown
from core.config import load_config
from core.errors import UserError
from core.evaluation.metrics.weights import fetch_missing
from core.runtime import cli
from families import FAMILIES, STYLIZERS


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="e.g. configs/compare/demo.yaml")
    parser.add_argument("--output", type=Path, help="default: results/<name>")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--readme",
        type=Path,
        help="also write tables and picture between its <!-- compare --> marks",
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch the weights of FID, KID and LPIPS not there"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Compare, report."""
    config = load_config(args.config, {"compare": Comparison}, args.set)
    folder = args.output or Path("results") / config.name
    if args.readme is not None and not args.readme.is_file():
        raise UserError(f"--readme {args.readme}: there is no such file")
    if args.download:
        weights = config.evaluate.weights
        fetch_missing(Path(weights).expanduser() if weights else None)
    try:
        results, _ = compare(config, folder, FAMILIES, STYLIZERS, args.device)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        raise
    print(f"\n{markdown(results, [])}\n{folder / 'index.html'}")
    if args.readme is not None:
        command = shlex.join(["python", "scripts/compare.py", "--config", str(args.config)])
        update_readme(args.readme, folder, results, command)
        print(args.readme)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: run(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
