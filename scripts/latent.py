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

from functools import partial
from pathlib import Path
from typing import Any

from core.runtime import cli

TOOLS = {
    "sample": "a grid, and each image with its noise as .npy",
    "arithmetic": "a - b + c, each the mean of its files",
    "interpolate": "from point to point",
    "walk": "a round trip as a GIF",
    "nearest": "the nearest training image of each sample, to see memorising",
    "attribute": "give procedural faces an attribute, and count how many take it",
}
NUM = {"sample": 16, "interpolate": 2, "walk": 6, "nearest": 8, "attribute": 20}
PATHS = {"interpolate": (9, "both"), "walk": (24, "spherical")}
KINDS = ("linear", "spherical")


def options(parser: cli.Parser) -> None:
    """Add the tools and their options."""
    tools = parser.add_subparsers(dest="tool", required=True)
    made = {name: tools.add_parser(name, help=text) for name, text in TOOLS.items()}
    for tool in made.values():
        cli.add(tool, "--checkpoint", "--which", "--output", "--text", "--device", "--precision")
        cli.add(tool, "--seed", help="of the noise")
    for name, num in NUM.items():
        made[name].add_argument("--num", type=int, default=num, help=f"random vectors ({num})")
    files: dict[str, Any] = {"type": Path, "nargs": "+", "metavar": "NPY"}
    for name in "abc":
        made["arithmetic"].add_argument(f"--{name}", required=True, **files)
    for name in ("interpolate", "walk", "nearest"):
        made[name].add_argument("--points", default=[], **files)
    for name, (frames, kind) in PATHS.items():
        made[name].add_argument("--frames", type=int, default=frames)
        made[name].add_argument("--kind", choices=[*KINDS, "both"], default=kind)
    images = "training images; default: where the run had them"
    made["nearest"].add_argument("--data", help=images)
    change = made["attribute"]
    change.add_argument("--attribute", choices=["mask", "glasses"], default="mask")
    change.add_argument("--strength", type=float, default=1.0, help="times the mean difference")


def latent(args: cli.Args) -> None:
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
    elif args.tool == "nearest":
        points = tools.read_points(sampler, args.points, args.num, args.seed)
        found = tools.write_nearest(sampler, out, points, texts, args.data)
        closest = min(found, key=lambda one: one.distance)
        print(f"closest: {closest.name}, {closest.distance:.1f} grey levels apart")
    else:
        points = tools.read_points(sampler, args.points, args.num, args.seed)
        way = {"frames": args.frames, "closed": args.tool == "walk"}
        kinds: Any = KINDS if args.kind == "both" else (args.kind,)
        print(*tools.write_path(sampler, out, points, kinds, texts, **way), sep="\n")


main = partial(cli.main, __doc__, options, latent)

if __name__ == "__main__":
    raise SystemExit(main())
