"""Give images the style of others.

python scripts/stylize.py --content photo.jpg --style painting.jpg --output out/
python scripts/stylize.py --config C --pairs FOLDER --output out/     # content/ style/ *_segment/
python scripts/stylize.py --config C --content photos/ --style paintings/ --grid --output out/

Several styles are blended; with --grid each content meets each style. Stop with Ctrl-C and go on
with --resume from the last picture. out/index.html shows the results.
"""

from functools import partial
from pathlib import Path

from core.errors import UserError
from core.runtime import cli

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "style" / "neural_random.yaml"


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("--config", type=Path, default=CONFIG, help="one of configs/style/")
    parser.add_argument("--content", type=Path, help="image or folder")
    parser.add_argument("--style", type=Path, nargs="+", help="images or folders")
    parser.add_argument("--content-mask", type=Path, help="label map of the content")
    parser.add_argument("--style-mask", type=Path, nargs="+", default=[], help="one per style")
    parser.add_argument("--pairs", type=Path, metavar="FOLDER", help="instead of the four above")
    parser.add_argument("--grid", action="store_true", help="every content with every style")
    cli.add(parser, "--output", "--set")
    steps = "steps between intermediate pictures; 0: none"
    parser.add_argument("--every", type=int, default=100, help=steps)
    parser.add_argument("--gif", action="store_true", help="of the intermediate pictures")
    cli.add(parser, "--resume", "--device", "--max-pixels")


def stylize(args: cli.Args) -> None:
    """Find, build, stylize, report."""
    masks = args.content_mask or args.style_mask
    if args.pairs is not None and (args.content or args.style or masks or args.grid):
        raise UserError("--pairs FOLDER stands alone, without --content, --style and --grid")
    if args.pairs is None and (args.content is None or not args.style):
        raise UserError("--content and --style are needed, or --pairs FOLDER")
    if args.grid and masks:
        raise UserError("--grid takes no masks; use --pairs FOLDER for pairs with masks")
    from core.config import load_config
    from core.data.images import set_max_pixels
    from core.jobs import stylize as work
    from core.runtime import distributed
    from families import STYLIZERS

    set_max_pixels(args.max_pixels)
    config = load_config(args.config, STYLIZERS, args.set)
    if args.pairs is not None:
        jobs = work.pair_jobs(args.pairs)
    else:
        files = (args.content, args.style, args.content_mask, args.style_mask)
        jobs = work.find_jobs(*files, every_pair=args.grid, output=args.output)
    stylizer = STYLIZERS[config.family].build(config, distributed.start(args.device).device)
    showing = work.Showing(args.every, args.gif, args.resume)
    failures = work.stylize_all(stylizer, jobs, config, args.output, showing)
    if args.grid:
        print(work.draw_grid(jobs, args.output))
    if failures:
        raise UserError(f"{len(failures)} of {len(jobs)} left out, first: {failures[0]}")
    print(args.output / "index.html")


main = partial(cli.main, __doc__, options, stylize)

if __name__ == "__main__":
    raise SystemExit(main())
