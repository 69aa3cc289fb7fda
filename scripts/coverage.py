"""Modes that vanilla GAN, LSGAN, WGAN and WGAN-GP find: `python scripts/coverage.py --output out/`.

Trains the four on 25 Gaussians and on procedural faces (32 px) for the same number of generator
updates, and writes coverage.md, coverage.json and coverage.png. Some minutes on two CPU cores; the
face trainings are ordinary runs below out/ and go on where an interruption left them.
"""

from __future__ import annotations

import argparse
from functools import partial

from core.runtime import cli


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.parser(__doc__)
    cli.add(parser, "--output")
    parser.add_argument("--gaussians", type=int, default=4000, help="generator updates; 0: none")
    parser.add_argument("--faces", type=int, default=800, help="generator updates; 0: none")
    parser.add_argument("--num-train", type=int, default=4000, help="faces to train on")
    parser.add_argument("--num-samples", type=int, default=1000, help="faces to read")
    cli.add(parser, "--seed")
    cli.add(parser, "--device", help="of the faces; the toy stays on the CPU")
    args = parser.parse_args(argv)
    if min(args.gaussians, args.faces) < 0 or args.gaussians + args.faces == 0:
        parser.error("--gaussians, --faces: not negative, and not both 0")
    if args.num_samples < 64:
        parser.error(f"--num-samples {args.num_samples}: at least 64")
    return args


def coverage(args: argparse.Namespace) -> None:
    """Train, measure, write."""
    from core.procedural.coverage import (
        compare_on_faces,
        compare_on_gaussians,
        face_runs,
        write_report,
    )
    from core.runtime import distributed
    from families import FAMILIES

    tables = {}
    if args.gaussians:
        tables["25 Gaussians"] = compare_on_gaussians(args.gaussians, args.seed)
    if args.faces:
        num = {"num_train": args.num_train, "updates": args.faces}
        runs = face_runs(FAMILIES, args.output, seed=args.seed, **num)
        world = distributed.start(args.device)
        tables["Procedural faces"] = compare_on_faces(
            runs, args.output, world, num_samples=args.num_samples, **num
        )
    print(f"{write_report(tables, args.output)}\n\n{args.output / 'coverage.png'}")


main = partial(cli.main, parse, coverage)

if __name__ == "__main__":
    raise SystemExit(main())
