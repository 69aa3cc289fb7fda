"""Translate whole data sets: `translate.py --checkpoint RUN --input SRC --output DST`.

SRC is a folder, a list .txt, an image, or tar shards `data-{000..999}.tar`. DST gets the results
alone, under their inputs' names. Started again it goes on; with torchrun each process has its
share. `--input clip.mp4 --output out.mp4` translates a video. See docs/translating.md;
scripts/test.py makes a page to look at.
"""

from functools import partial
from pathlib import Path

from core.report.encoding import FORMATS, QUALITY
from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    cli.add(parser, "--checkpoint", "--which", "--max-pixels")
    parser.add_argument(
        "--input", type=Path, required=True, help="folder, list, shards, image, video"
    )
    cli.add(parser, "--output", "--direction", "--precision", "--eval", "--device")
    parser.add_argument("--tile", type=int, help="tile side in px; 0: never; default: if needed")
    white = "value that is white in more than 8 bits; default: as trained"
    parser.add_argument("--white", type=float, metavar="VALUE", help=white)
    cli.add(parser, "--seed", help="of styles, and of dropout in pix2pix")
    parser.add_argument("--num-styles", type=int, metavar="N", help="random styles per image (1)")
    examples = "take the styles of images, folders or .npy codes"
    parser.add_argument("--style", type=Path, nargs="+", metavar="PATH", help=examples)
    files = parser.add_argument_group("files")
    files.add_argument(
        "--format", choices=FORMATS, default="png", help="of results; tif: any depth"
    )
    files.add_argument("--quality", type=int, default=QUALITY, help="of jpg and webp, 1 to 100")
    files.add_argument("--crf", type=int, default=18, help="of video: 0 is lossless, 51 the worst")
    files.add_argument("--overwrite", action="store_true", help="make again what is done")
    files.add_argument("--batch-size", type=int, default=1, help="images in one pass")
    files.add_argument("--workers", type=int, default=0, help="processes that read and write")


def translate(args: cli.Args) -> int:
    """Translate this process's share of the input."""
    cli.require_at_least(args, num_styles=1, batch_size=1, workers=0, quality=1, crf=0)
    from core.checkpoints.which import choose
    from core.data.images import set_max_pixels
    from core.jobs import video
    from core.jobs.bulk.job import run, translator_engine
    from core.runtime import distributed
    from families import load

    set_max_pixels(args.max_pixels)
    world = distributed.place(args.device)
    modes = cli.chosen(args, "precision", "test_mode", "tile")
    translator = load(choose(args.checkpoint, args.which), world.device, **modes)
    if video.is_video(args.input):
        return video.run(translator, args, world)
    settings = cli.chosen(
        args, "direction", "precision", "test_mode", "white", "seed", "num_styles"
    )
    settings |= {"checkpoint": translator.origin, "style": list(map(str, args.style or ()))}
    return run(translator_engine(translator, args), settings, args, world)


main = partial(cli.main, __doc__, options, translate)

if __name__ == "__main__":
    raise SystemExit(main())
