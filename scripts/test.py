"""Translate images: `python scripts/test.py --checkpoint RUN --input photos/ --output out/`.

Input is an image, a folder, or a data set with testA/ and testB/. Outputs have the inputs' sizes;
out/index.html shows them. With torchrun each process translates its share. Checkpoints with styles
(munit, drit) give several translations of each input; families that make images from noise take no
input: `--num 64`, or `--text "blue hair red eyes"` where they draw what they are told. See
docs/testing.md.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.runtime import cli

if TYPE_CHECKING:
    from core.runtime.distributed import World


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.parser(__doc__)
    cli.add(parser, "--checkpoint", "--which")
    parser.add_argument("--input", type=Path, help="image, folder or data set to translate")
    cli.add(parser, "--output", "--direction", "--max-images", "--precision", "--eval", "--device")
    cli.add(parser, "--max-pixels")
    parser.add_argument("--tile", type=int, help="tile side in px; 0: never; default: if needed")
    cli.add(parser, "--preprocess", default="none")
    cli.add(parser, "--seed", help="of styles, of noise, and of dropout in pix2pix")
    styles = parser.add_argument_group("styles (munit, drit)")
    styles.add_argument("--num-styles", type=int, metavar="N", help="random styles per input (5)")
    styles.add_argument(
        "--synchronized", action="store_true", help="the same random styles for every input"
    )
    styles.add_argument(
        "--style",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="take the styles of an image, a folder, a data set, or .npy codes",
    )
    styles.add_argument(
        "--interpolate",
        nargs=2,
        metavar=("FROM", "TO"),
        help="strip and GIF between two styles, each an image, a .npy code or FILE.npy:ROW",
    )
    styles.add_argument("--frames", type=int, default=16, metavar="K", help="of --interpolate")
    samples = parser.add_argument_group("images from noise (dcgan, wgan)")
    samples.add_argument("--num", type=int, metavar="N", help="samples, of each caption if any")
    cli.add(samples, "--text")
    samples.add_argument("--texts", type=Path, metavar="FILE", help="captions, one a line")
    samples.add_argument("--noise", type=Path, metavar="FILE", help=".npy of noise to draw from")
    args = parser.parse_args(argv)
    cli.require_at_least(args, max_images=1, num_styles=1, frames=2)
    if args.tile and args.tile < 32:
        raise UserError(f"--tile {args.tile}: at least 32 px, or 0 to never tile")
    if args.input is None and args.num is not None and args.noise is not None:
        raise UserError("--num and --noise: the file says how many samples; give one of the two")
    return args


def test(args: argparse.Namespace) -> None:
    """Translate the input, or draw samples where there is none."""
    from core.runtime import distributed

    world = distributed.start(args.device)
    if args.input is not None:
        translate(args, world)
    elif world.is_main:  # one process draws all samples
        draw(args, world)


def translate(args: argparse.Namespace, world: World) -> None:
    """Translate every input, each process its share."""
    from core.checkpoints.which import choose
    from core.data.images import set_max_pixels
    from core.jobs.styles import choose_task
    from core.jobs.translate import find_jobs, translate_all
    from core.runtime import rng
    from families import load

    set_max_pixels(args.max_pixels)
    rng.seed_all(args.seed + world.rank)
    file = choose(args.checkpoint, args.which)
    translator = load(file, world.device, args.precision, args.test_mode, args.tile)
    direction = translator.check_direction(args.direction) if args.direction else None
    jobs = find_jobs(args.input, translator, direction, args.max_images, args.output)
    config = translator.family.config
    official = config.data if args.preprocess == "official" else None
    task = choose_task(
        translator,
        jobs,
        official,
        num_styles=args.num_styles,
        synchronized=args.synchronized,
        examples=args.style,
        ends=args.interpolate,
        num_frames=args.frames,
        seed=args.seed,
        max_images=args.max_images,
    )
    failures = translate_all(task, jobs, args.output, config.name, world)
    if world.is_main:
        print(args.output / "index.html")
    if failures:
        raise UserError(f"{len(failures)} of {len(jobs)} images left out, first: {failures[0]}")


def draw(args: argparse.Namespace, world: World) -> None:
    """Draw samples from noise."""
    from core.checkpoints.which import choose
    from core.jobs.samples import read_captions, read_noise, write_samples
    from families import load_sampler

    file = choose(args.checkpoint, args.which)
    sampler = load_sampler(file, world.device, args.precision)
    captions = args.text + (read_captions(args.texts) if args.texts else [])
    noise = read_noise(args.noise, sampler.family.noise_dim) if args.noise else None
    title = sampler.family.config.name
    choice = {"num": args.num, "seed": args.seed, "noise": noise}
    print(write_samples(sampler, args.output, title, captions=captions, **choice))


main = partial(cli.main, parse, test)

if __name__ == "__main__":
    raise SystemExit(main())
