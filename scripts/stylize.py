"""Give images the style of others.

python scripts/stylize.py --content photo.jpg --style painting.jpg --output out/
python scripts/stylize.py --config C --pairs FOLDER --output out/     # content/ style/ *_segment/
python scripts/stylize.py --config C --content photos/ --style paintings/ --grid --output out/
python scripts/stylize.py --content photo.jpg --fast --style 2 --output out/  # or 1:0.7 3:0.3

Several styles are blended; with --grid each content meets each style. Stop with Ctrl-C and go on
with --resume from the last picture. out/index.html shows the results.
"""

from functools import partial
from pathlib import Path

from core.errors import UserError
from core.runtime import cli

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "style" / "neural_student.yaml"


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("--config", type=Path, default=CONFIG, help="one of configs/style/")
    parser.add_argument("--content", type=Path, help="image or folder")
    parser.add_argument("--style", type=Path, nargs="+", help="images or folders")
    parser.add_argument("--content-mask", type=Path, help="label map of the content")
    parser.add_argument("--style-mask", type=Path, nargs="+", default=[], help="one per style")
    parser.add_argument(
        "--segment",
        nargs="?",
        const=3,
        type=int,
        metavar="K",
        help="photo style: masks of K classes (3) by colour and place, where there are none",
    )
    parser.add_argument("--pairs", type=Path, metavar="FOLDER", help="instead of the four above")
    parser.add_argument("--grid", action="store_true", help="every content with every style")
    parser.add_argument(
        "--fast",
        nargs="?",
        const="",
        metavar="CHECKPOINT",
        help="one pass of a trained network, by default the project's, whose styles have numbers: "
        "--style 2, or --style 1:0.7 3:0.3",
    )
    cli.add(parser, "--output", "--set")
    steps = "steps between intermediate pictures; 0: none"
    parser.add_argument("--every", type=int, default=100, help=steps)
    parser.add_argument("--gif", action="store_true", help="of the intermediate pictures")
    cli.add(parser, "--resume", "--device", "--max-pixels")


def stylize(args: cli.Args) -> None:
    """Find, build, stylize, report."""
    cli.require_at_least(args, every=0, segment=2)
    masks = args.content_mask or args.style_mask
    if args.segment is not None and args.config == CONFIG:
        raise UserError(
            "--segment is for photo style: add --config configs/style/photo_wavelet.yaml"
        )
    if args.segment is not None:
        args.set.append(f"segment={args.segment}")
    if args.fast is not None:
        optimised = {"--pairs": args.pairs, "--gif": args.gif, "--resume": args.resume}
        optimised |= {
            "--set or --segment": args.set,
            "--config": args.config != CONFIG,
            "masks": masks,
        }
        if refused := [option for option, value in optimised.items() if value]:
            raise UserError(f"--fast takes no {refused[0]}: it makes one pass of a network")
    if args.pairs is not None and (args.content or args.style or masks or args.grid):
        raise UserError("--pairs FOLDER stands alone, without --content, --style and --grid")
    if args.pairs is None and (args.content is None or not args.style):
        raise UserError("--content and --style are needed, or --pairs FOLDER")
    if args.segment is not None and masks:
        raise UserError("--segment makes masks; give it, or --content-mask and --style-mask")
    if args.grid and masks:
        raise UserError("--grid takes no masks; use --pairs FOLDER for pairs with masks")
    from core.config import load_config
    from core.data.images import set_max_pixels
    from core.jobs import stylize as work
    from core.runtime import distributed
    from families import STYLIZERS, load

    set_max_pixels(args.max_pixels)
    if args.fast is not None:
        from style.fast.family import WEIGHTS
        from style.fast.job import paint

        translator = load(args.fast or WEIGHTS, args.device)
        styles = [str(text) for text in args.style]
        report(args, paint(translator, args.content, styles, args.output, each=args.grid))
        return
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
    report(args, failures)


def report(args: cli.Args, failures: list[str]) -> None:
    """Name the page of results, or what was left out."""
    if failures:
        raise UserError(f"{len(failures)} left out, first: {failures[0]}")
    print(args.output / "index.html")


main = partial(cli.main, __doc__, options, stylize)

if __name__ == "__main__":
    raise SystemExit(main())
