"""Move about in a generator's noise space.

python scripts/latent.py TOOL --checkpoint RUN --output out/ ..., where TOOL is
  sample --num 16 --seed 0
  arithmetic --a 1.npy 2.npy --b 3.npy --c 4.npy 5.npy 6.npy
  interpolate --points 1.npy 2.npy --frames 9
  walk --num 6
  nearest --num 8
  attribute --attribute mask

`--text "blue hair red eyes"` says what a model with captions is to draw; along a path it may be
given once for each point.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.runtime import cli

if TYPE_CHECKING:
    from core.inference.latent import PathKind

KINDS: dict[str, list[PathKind]] = {
    "linear": ["linear"],
    "spherical": ["spherical"],
    "both": ["linear", "spherical"],
}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    every = argparse.ArgumentParser(add_help=False)
    names = ("--checkpoint", "--which", "--output", "--text", "--device", "--precision")
    cli.add(every, *names)
    cli.add(every, "--seed", help="of the noise")
    parser = cli.parser(__doc__)
    tools = parser.add_subparsers(dest="tool", required=True)

    def tool(name: str, num: int | None, text: str) -> argparse.ArgumentParser:
        made = tools.add_parser(name, parents=[every], help=text)
        if num is not None:
            made.add_argument("--num", type=int, default=num, help=f"random vectors ({num})")
        return made

    tool("sample", 16, "a grid, and each image with its noise as .npy")
    sums = tool("arithmetic", None, "a - b + c, each the mean of its files")
    for name in "abc":
        sums.add_argument(f"--{name}", type=Path, nargs="+", required=True, metavar="NPY")
    between = tool("interpolate", 2, "from point to point")
    walk = tool("walk", 6, "a round trip as a GIF")
    near = tool("nearest", 8, "the nearest training image of each sample, to see memorising")
    for made in (between, walk, near):
        made.add_argument("--points", type=Path, nargs="+", default=[], metavar="NPY")
    for made, frames, kind in ((between, 9, "both"), (walk, 24, "spherical")):
        made.add_argument("--frames", type=int, default=frames)
        made.add_argument("--kind", choices=KINDS, default=kind)
    near.add_argument("--data", help="training images; default: where the run had them")
    change = tool("attribute", 20, "give procedural faces an attribute, and count how many take it")
    change.add_argument("--attribute", choices=["mask", "glasses"], default="mask")
    change.add_argument("--strength", type=float, default=1.0, help="times the mean difference")
    return parser.parse_args(argv)


def latent(args: argparse.Namespace) -> None:
    """Load, draw, write, report."""
    from core.checkpoints.which import choose
    from core.jobs import latent as tools
    from core.procedural.latent_attributes import write_attribute
    from core.runtime import distributed
    from families import load_sampler

    file, device = choose(args.checkpoint, args.which), distributed.start(args.device).device
    sampler = load_sampler(file, device, args.precision)
    out, texts = args.output, args.text
    if args.tool == "sample":
        print(tools.write_samples(sampler, out, args.num, args.seed, texts))
    elif args.tool == "arithmetic":
        print(tools.write_arithmetic(sampler, out, (args.a, args.b, args.c), texts))
    elif args.tool == "attribute":
        chosen = (args.attribute, args.num, args.seed, args.strength, texts)
        shown, num = write_attribute(sampler, out, *chosen)
        print(f"{shown} of {num} samples without {args.attribute} now show it: {out}/attribute.png")
    else:
        points = tools.read_points(sampler, args.points, args.num, args.seed)
        if args.tool == "nearest":
            found = tools.write_nearest(sampler, out, points, texts, args.data)
            closest = min(found, key=lambda one: one.distance)
            print(f"closest: {closest.name}, {closest.distance:.1f} grey levels apart")
        else:
            options = {"frames": args.frames, "closed": args.tool == "walk"}
            for file in tools.write_path(sampler, out, points, KINDS[args.kind], texts, **options):
                print(file)


main = partial(cli.main, parse, latent)

if __name__ == "__main__":
    raise SystemExit(main())
