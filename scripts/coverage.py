"""Modes that vanilla GAN, LSGAN, WGAN and WGAN-GP find: `python scripts/coverage.py --output out/`.

Trains the four on 25 Gaussians and on procedural faces (32 px) for the same number of generator
updates, and writes coverage.md, coverage.json and coverage.png. Some minutes on two CPU cores; the
face trainings are ordinary runs below out/ and go on where an interruption left them.
"""

from functools import partial

from core.errors import UserError
from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    cli.add(parser, "--output", "--seed")
    parser.add_argument("--gaussians", type=int, default=4000, help="generator updates; 0: none")
    parser.add_argument("--faces", type=int, default=800, help="generator updates; 0: none")
    parser.add_argument("--num-train", type=int, default=4000, help="faces to train on")
    parser.add_argument("--num-samples", type=int, default=1000, help="faces to read")
    cli.add(parser, "--device", help="of the faces; the toy stays on the CPU")


def coverage(args: cli.Args) -> None:
    """Train, measure, write."""
    if min(args.gaussians, args.faces) < 0 or args.gaussians + args.faces == 0:
        raise UserError("--gaussians, --faces: not negative, and not both 0")
    cli.require_at_least(args, num_samples=64)
    from core.procedural import coverage as work
    from core.runtime import distributed
    from families import FAMILIES

    tables = {}
    if args.gaussians:
        tables["25 Gaussians"] = work.compare_on_gaussians(args.gaussians, args.seed)
    if args.faces:
        chosen = cli.chosen(args, "num_train", "num_samples", "seed")
        tables["Procedural faces"] = work.compare_on_faces(
            FAMILIES, args.output, distributed.start(args.device), updates=args.faces, **chosen
        )
    print(f"{work.write_report(tables, args.output)}\n\n{args.output / 'coverage.png'}")


main = partial(cli.main, __doc__, options, coverage)

if __name__ == "__main__":
    raise SystemExit(main())
