"""Translate images: `python scripts/test.py --checkpoint RUN --input photos/ --output out/`.

Input is an image, a folder, or a data set with testA/ and testB/. Outputs have the inputs' sizes;
out/index.html shows them. With torchrun each process translates its share. Checkpoints with styles
(munit, drit) give several translations of each input; families that make images from noise take no
input: `--num 64`, or `--text "blue hair red eyes"` where they draw what they are told. See
docs/testing.md.
"""

from functools import partial
from pathlib import Path

from core.errors import UserError
from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    cli.add(parser, "--checkpoint", "--which", "--max-pixels")
    parser.add_argument("--input", type=Path, help="image, folder or data set to translate")
    cli.add(parser, "--output", "--direction", "--max-images", "--precision", "--eval")
    cli.add(parser, "--speed", "--device")
    parser.add_argument("--tile", type=int, help="tile side in px; 0: never; default: if needed")
    back = "also translate results back (rec_A, rec_B)"
    parser.add_argument("--reconstruct", action="store_true", help=back)
    white = "value that is white in more than 8 bits; default: as trained"
    parser.add_argument("--white", type=float, metavar="VALUE", help=white)
    cli.add(parser, "--preprocess", default="none")
    cli.add(parser, "--seed", help="of styles, of noise, and of dropout in pix2pix")
    styles = parser.add_argument_group("styles (munit, drit)")
    styles.add_argument("--num-styles", type=int, metavar="N", help="random styles per input (5)")
    every = "the same random styles for every input"
    styles.add_argument("--synchronized", action="store_true", help=every)
    examples = "take the styles of an image, a folder, a data set, or .npy codes"
    styles.add_argument("--style", type=Path, nargs="+", metavar="PATH", help=examples)
    ends = "strip and GIF between two styles, each an image, a .npy code or FILE.npy:ROW"
    styles.add_argument("--interpolate", nargs=2, metavar=("FROM", "TO"), help=ends)
    styles.add_argument("--frames", type=int, default=16, metavar="K", help="of --interpolate")
    samples = parser.add_argument_group("images from noise (dcgan, wgan)")
    samples.add_argument("--num", type=int, metavar="N", help="samples, of each caption if any")
    cli.add(samples, "--text")
    samples.add_argument("--texts", type=Path, metavar="FILE", help="captions, one a line")
    samples.add_argument("--noise", type=Path, metavar="FILE", help=".npy of noise to draw from")


def test(args: cli.Args) -> None:
    """Translate the input, or draw samples where there is none."""
    cli.require_at_least(args, max_images=1, num_styles=1, frames=2)
    if args.tile and args.tile < 32:
        raise UserError(f"--tile {args.tile}: at least 32 px, or 0 to never tile")
    if args.input is None and args.num is not None and args.noise is not None:
        raise UserError("--num and --noise: the file says how many samples; give one of the two")
    from core.checkpoints.which import choose
    from core.data.images import set_max_pixels
    from core.jobs.test import draw, translate
    from core.runtime import distributed, rng
    from families import load, load_sampler

    world = distributed.start(args.device)
    if args.input is not None:
        set_max_pixels(args.max_pixels)
        rng.seed_all(args.seed + world.rank)
        modes = cli.chosen(args, "precision", "test_mode", "tile", "speed")
        translate(load(choose(args.checkpoint, args.which), world.device, **modes), args, world)
    elif world.is_main:  # one process draws all samples
        file = choose(args.checkpoint, args.which)
        draw(load_sampler(file, world.device, args.precision, args.speed), args)


main = partial(cli.main, __doc__, options, test)

if __name__ == "__main__":
    raise SystemExit(main())
