"""Translate images: `python scripts/test.py --checkpoint RUN --input photos/ --output out/`.

Input is an image, a folder, or a data set with testA/ and testB/. Outputs have the inputs' sizes;
out/index.html shows them. With torchrun each process translates its share. Checkpoints with styles
(munit, drit) give several translations of each input; families that make images from noise take no
input: `--num 64`, or `--text "blue hair red eyes"` where they draw what they are told. See
docs/testing.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

from core.errors import UserError
from core.jobs.samples import read_captions, read_noise, write_samples
from core.jobs.styles import NUM_STYLES, StyleChoice, choose_task
from core.jobs.translate import find_jobs, translate_all
from core.runtime import cli, distributed, rng
from families import load, load_sampler


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="file or run folder")
    parser.add_argument("--input", type=Path, help="image, folder or data set to translate")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--direction", choices=["AtoB", "BtoA"])
    parser.add_argument("--tile", type=int, help="tile side in px; 0: never; default: if needed")
    parser.add_argument(
        "--preprocess",
        choices=["none", "official"],
        default="none",
        help="official: resize to the training crop_size first, as the published test does",
    )
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument(
        "--eval", action="store_true", help="pix2pix: no dropout, running batch norm statistics"
    )
    styles = parser.add_argument_group("styles (munit, drit)")
    styles.add_argument(
        "--num-styles", type=int, metavar="N", help=f"random styles per input; {NUM_STYLES}"
    )
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
    styles.add_argument("--frames", type=int, default=16, metavar="K")
    parser.add_argument("--max-images", type=int, metavar="N", help="per domain")
    samples = parser.add_argument_group("images from noise (dcgan, wgan)")
    samples.add_argument("--num", type=int, metavar="N", help="samples, of each caption if any")
    samples.add_argument("--text", action="append", default=[], help="caption; may be repeated")
    samples.add_argument("--texts", type=Path, metavar="FILE", help="captions, one a line")
    samples.add_argument("--noise", type=Path, metavar="FILE", help=".npy of noise to draw from")
    parser.add_argument(
        "--seed", type=int, default=0, help="of styles, of noise, and of dropout in pix2pix"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser.parse_args(argv)


def test(args: argparse.Namespace) -> int:
    """Load, translate, report."""
    check_numbers(args)
    if args.input is None:
        return sample(args)
    world = distributed.start(args.device)
    rng.seed_all(args.seed + world.rank)
    mode: Literal["eval", "published"] = "eval" if args.eval else "published"
    translator = load(args.checkpoint, world.device, args.precision, mode, args.tile)
    direction = translator.check_direction(args.direction) if args.direction else None
    jobs = find_jobs(args.input, translator, direction, args.max_images)
    config = translator.family.config
    official = config.data if args.preprocess == "official" else None
    choice = StyleChoice(
        num_styles=args.num_styles,
        synchronized=args.synchronized,
        examples=args.style,
        ends=args.interpolate,
        num_frames=args.frames,
        seed=args.seed,
        max_images=args.max_images,
    )
    task = choose_task(translator, jobs, choice, official)
    failures = translate_all(task, jobs, args.output, config.name, world)
    if world.is_main:
        print(f"{args.output / 'index.html'}")
    if failures:
        raise UserError(f"{len(failures)} of {len(jobs)} images left out, first: {failures[0]}")
    return 0


def check_numbers(args: argparse.Namespace) -> None:
    """Refuse counts and sizes that make no sense."""
    if args.tile is not None and args.tile != 0 and args.tile < 32:
        raise UserError(f"--tile {args.tile}: at least 32 px, or 0 to never tile")
    for option, least in (("max_images", 1), ("num_styles", 1), ("frames", 2)):
        value = getattr(args, option)
        if value is not None and value < least:
            raise UserError(f"--{option.replace('_', '-')} {value}: at least {least}")


def sample(args: argparse.Namespace) -> int:
    """Load, draw, report; one process does it all."""
    if args.num is not None and args.noise is not None:
        raise UserError("--num and --noise: the file says how many samples; give one of the two")
    world = distributed.start(args.device)
    if not world.is_main:
        return 0
    sampler = load_sampler(args.checkpoint, world.device, args.precision)
    captions = args.text + (read_captions(args.texts) if args.texts else [])
    noise = read_noise(args.noise, sampler.family.noise_dim) if args.noise else None
    title = sampler.family.config.name
    choice: dict[str, Any] = {"num": args.num, "seed": args.seed, "noise": noise}
    print(write_samples(sampler, args.output, title, captions=captions, **choice))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: test(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
