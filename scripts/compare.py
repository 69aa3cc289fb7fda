"""Compare methods: `python scripts/compare.py --config configs/compare/demo.yaml`.

Translates the same test images with every entry of the config, trains first what is not trained,
and writes one page of pictures, tables and plots. Ctrl-C saves and stops a training; the same
command goes on. See docs/compare.md.
"""

import shlex
import sys
from functools import partial
from pathlib import Path

from core.errors import UserError
from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("--config", type=Path, required=True, help="e.g. configs/compare/demo.yaml")
    cli.add(parser, "--output", required=False, help="default: results/<name>")
    marks = "also write tables and picture between its <!-- compare --> marks"
    parser.add_argument("--readme", type=Path, help=marks)
    cli.add(parser, "--set", "--download", "--device")


def run(args: cli.Args) -> None:
    """Compare, report."""
    if args.readme is not None and not args.readme.is_file():
        raise UserError(f"--readme {args.readme}: there is no such file")
    from core.compare.comparison import compare, update_readme
    from core.compare.config import Comparison
    from core.compare.tables import markdown
    from core.config import load_config
    from core.evaluation.metrics.weights import fetch_missing
    from families import FAMILIES, STYLIZERS

    config = load_config(args.config, {"compare": Comparison}, args.set)
    folder = args.output or Path("results") / config.name
    if args.download:
        fetch_missing(config.evaluate.weights)
    try:
        methods, _ = compare(config, folder, FAMILIES, STYLIZERS, args.device)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        raise
    print(f"\n{markdown(methods, [])}\n{folder / 'index.html'}")
    if args.readme is not None:
        command = shlex.join(["python", "scripts/compare.py", "--config", str(args.config)])
        update_readme(args.readme, folder, methods, command)
        print(args.readme)


main = partial(cli.main, __doc__, options, run)

if __name__ == "__main__":
    raise SystemExit(main())
