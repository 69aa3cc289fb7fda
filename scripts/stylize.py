"""Give images the style of others.

python scripts/stylize.py --content photo.jpg --style painting.jpg --output out/
python scripts/stylize.py --config C --pairs FOLDER --output out/     # content/ style/ *_segment/
python scripts/stylize.py --config C --content photos/ --style paintings/ --grid --output out/

Several styles are blended; with --grid each content meets each style. Stop with Ctrl-C and go on
with --resume from the last picture. out/index.html shows the results.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from core.config import load_config
from core.data.folders import find_single
from core.errors import UserError
from core.jobs.stylize import (
    Showing,
    StyleJob,
    blending_jobs,
    draw_grid,
    grid_jobs,
    pair_jobs,
    stylize_all,
)
from core.runtime import cli, distributed
from families import STYLIZERS

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "style" / "neural_random.yaml"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG, help="one of configs/style/")
    parser.add_argument("--content", type=Path, help="image or folder")
    parser.add_argument("--style", type=Path, nargs="+", help="images or folders")
    parser.add_argument("--content-mask", type=Path, help="label map of the content")
    parser.add_argument("--style-mask", type=Path, nargs="+", default=[], help="one per style")
    parser.add_argument("--pairs", type=Path, metavar="FOLDER", help="instead of the four above")
    parser.add_argument("--grid", action="store_true", help="every content with every style")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--every", type=int, default=100, help="steps between intermediate pictures; 0: none"
    )
    parser.add_argument("--gif", action="store_true", help="of the intermediate pictures")
    parser.add_argument("--resume", action="store_true", help="go on with what --output holds")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser.parse_args(argv)


def find_jobs(args: argparse.Namespace) -> list[StyleJob]:
    """What the arguments ask for."""
    if args.pairs is not None:
        if args.content or args.style or args.content_mask or args.style_mask or args.grid:
            raise UserError("--pairs FOLDER stands alone, without --content, --style and --grid")
        return pair_jobs(args.pairs)
    if args.content is None or not args.style:
        raise UserError("--content and --style are needed, or --pairs FOLDER")
    contents = find_single(args.content).files
    styles = [file for path in args.style for file in find_single(path).files]
    if not args.grid:
        return blending_jobs(contents, styles, args.content_mask, args.style_mask)
    if args.content_mask or args.style_mask:
        raise UserError("--grid takes no masks; use --pairs FOLDER for pairs with masks")
    return grid_jobs(contents, styles)


def stylize(args: argparse.Namespace) -> int:
    """Find, build, stylize, report."""
    config = load_config(args.config, STYLIZERS, args.set)
    jobs = find_jobs(args)
    stylizer = STYLIZERS[config.family].build(config, distributed.start(args.device).device)
    showing = Showing(args.every, args.gif, args.resume)
    failures = stylize_all(stylizer, jobs, config, args.output, showing)
    if args.grid:
        print(draw_grid(jobs, args.output))
    if failures:
        raise UserError(f"{len(failures)} of {len(jobs)} left out, first: {failures[0]}")
    print(args.output / "index.html")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: stylize(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
