"""Translate whole data sets: `translate.py --checkpoint RUN --input SRC --output DST`.

SRC is a folder, a list .txt, an image, or tar shards `data-{000..999}.tar`. DST gets the results
alone, under their inputs' names. Started again it goes on; with torchrun each process has its
share. `--input clip.mp4 --output out.mp4` translates a video. See docs/translating.md;
scripts/test.py makes a page to look at.
"""

from functools import partial
from pathlib import Path

from core.errors import UserError
from core.report.encoding import FORMATS, QUALITY
from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    cli.add(parser, "--checkpoint", required=False)
    config = "in place of a checkpoint: a method of configs/style/ that needs none"
    parser.add_argument("--config", type=Path, help=config)
    cli.add(parser, "--set", "--which", "--max-pixels")
    kinds = "folder, list, shards, image or video"
    parser.add_argument("--input", type=cli.place, required=True, help=kinds)
    cli.add(parser, "--output", type=cli.place, help="folder, shards, address or video")
    cli.add(parser, "--direction", "--precision", "--eval", "--speed", "--device")
    parser.add_argument("--tile", type=int, help="tile side in px; 0: never; default: if needed")
    white = "value that is white in more than 8 bits; default: as trained"
    parser.add_argument("--white", type=float, metavar="VALUE", help=white)
    cli.add(parser, "--seed", help="of styles, and of dropout in pix2pix")
    parser.add_argument("--num-styles", type=int, metavar="N", help="random styles per image (1)")
    examples = "take the styles of images, folders or .npy codes"
    parser.add_argument("--style", type=Path, nargs="+", metavar="PATH", help=examples)
    files = parser.add_argument_group("results")
    files.add_argument("--format", choices=FORMATS, default="png", help="tif keeps every depth")
    files.add_argument("--quality", type=int, default=QUALITY, help="of jpg and webp, 1 to 100")
    files.add_argument("--crf", type=int, default=18, help="of video: 0 is lossless, 51 the worst")
    files.add_argument("--overwrite", action="store_true", help="make again what is done")
    again = "read every result again, and make again what is damaged"
    files.add_argument("--check", action="store_true", help=again)
    page = "a page of N of the images, chosen at random"
    files.add_argument("--gallery", type=int, default=0, metavar="N", help=page)
    speed = parser.add_argument_group("speed")
    batch = "images of one size in a pass; default: by memory"
    speed.add_argument("--batch-size", type=int, metavar="N", help=batch)
    workers = "processes that read and write; default: one a core"
    speed.add_argument("--workers", type=int, metavar="N", help=workers)
    cluster = "ray: on a cluster, all of it for this one command"
    speed.add_argument("--engine", choices=["local", "ray"], default="local", help=cluster)
    address = "of a Ray cluster, such as auto; default: start one on this machine"
    speed.add_argument("--address", help=address)


def translate(args: cli.Args) -> int:
    """Check the options; with torchrun let a process of its own do the work."""
    cli.require_at_least(args, num_styles=1, batch_size=1, workers=0, quality=1, gallery=0, crf=0)
    if args.quality > 100:
        raise UserError(f"--quality {args.quality}: at most 100")
    if (args.checkpoint is None) == (args.config is None):
        raise UserError("give one of --checkpoint and --config")
    if args.address is not None and args.engine != "ray":
        raise UserError(f"--address {args.address}: goes with --engine ray")
    from core.jobs.bulk.manifest import folder_of
    from core.jobs.video_files import is_video
    from core.runtime.together import guard

    if not is_video(args.input):
        return guard(work, args, folder_of(args.output))
    if args.config is not None:
        raise UserError("--config: a video is translated by a --checkpoint")
    return work(args)


def work(args: cli.Args) -> int:
    """Translate this process's share of the input."""
    from core.checkpoints.which import choose
    from core.config import load_config
    from core.data.images import set_max_pixels
    from core.jobs import video
    from core.jobs.bulk import job
    from core.jobs.video_files import is_video
    from core.runtime import distributed
    from families import STYLIZERS, load

    set_max_pixels(args.max_pixels)
    world = distributed.place(args.device)
    if args.config is not None:
        config = load_config(args.config, STYLIZERS, args.set)
        task = job.of_stylizer(STYLIZERS[config.family], config, args, world.device)
    else:
        modes = cli.chosen(args, "precision", "test_mode", "tile", "speed")
        device = args.device if args.engine == "ray" else world.device  # machines choose theirs
        translator = load(choose(args.checkpoint, args.which), device, **modes)
        if is_video(args.input):
            return video.run(translator, args, world)
        task = job.of_checkpoint(translator, args)
    return job.run(task, args, world)


main = partial(cli.main, __doc__, options, translate)

if __name__ == "__main__":
    raise SystemExit(main())
