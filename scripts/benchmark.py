"""Plain against fast training steps in one run: `python scripts/benchmark.py --config C`.

Plain is fp32, eager, contiguous, as the official code runs. Fast is what this machine does best
with the same mathematics (`core/training/benchmark.py` says which). Repeats are interleaved, so
that a busy machine slows both alike; the report is the ratio of medians. A config of neural style
measures its iterations the same way. `--against model.constraint=clip` tells what WGAN's penalty
costs, `--start` how long the scripts take to answer.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.runtime import cli

STYLE_PEERS = ("neural-style-pt", "fastphotostyle")
PEERS = ("cyclegan", "pix2pix", "munit", "drit", "dcgan", *STYLE_PEERS)
MATTING = "matting against a sparse direct solver, default 256 512 1024 2048 (no --config)"


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("--config", type=Path, help="of a family that trains, or neural style")
    cli.add(parser, "--set", "--device")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats of each path")
    parser.add_argument("--steps", type=int, default=1, help="training steps (rounds) per repeat")
    changes: dict[str, Any] = {"action": "append", "metavar": "KEY=VALUE"}
    parser.add_argument("--fast", **changes, help="train (or run) options of the fast path")
    costs = "what an option costs: fast steps of the config and of it so changed; or with --peer"
    parser.add_argument("--against", **(changes | {"metavar": "KEY=VALUE|PATH"}), help=costs)
    peer = "measure beside a checkout of the official code of the config's family, at --against"
    parser.add_argument("--peer", choices=PEERS, help=peer)
    parser.add_argument("--curves", type=int, metavar="N", help="compare N steps' losses")
    parser.add_argument(
        "--operations", action="store_true", help="count the operations of a step instead"
    )
    parser.add_argument("--loader", action="store_true", help="loader alone against PIL each time")
    parser.add_argument("--smoothing", type=int, nargs="*", metavar="PIXELS", help=MATTING)
    answers = "scripts' answers against importing torch (no --config)"
    parser.add_argument("--start", action="store_true", help=answers)
    parser.add_argument("--json", type=Path, help="also write the numbers here")


def benchmark(args: cli.Args) -> None:
    """Measure, print the numbers, and write them to a file if asked to."""
    if args.start:
        from core.runtime import start

        report = start.measure(Path(__file__).parent, args.repeats)
        print(start.table(report))
    elif args.smoothing is not None:
        from style.photo.benchmark import benchmark_smoothing

        sizes = args.smoothing or [256, 512, 1024, 2048]
        # Beyond 1024 pixels the direct solver takes too much memory.
        report = benchmark_smoothing(sizes, args.repeats, largest_direct=1024)
    else:
        report = training(args)
    if not args.start:
        print(json.dumps(report, indent=2))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


def training(args: cli.Args) -> dict[str, Any]:
    """Measure training steps of a family, or iterations of neural style."""
    if args.config is None:
        raise UserError("--config: required (or --smoothing, or --start)")
    from core.config import load_config
    from core.runtime import distributed
    from core.training import benchmark as measure
    from families import FAMILIES, STYLIZERS
    from style.neural.benchmark import benchmark_iterations

    config = load_config(args.config, {**FAMILIES, **STYLIZERS}, args.set)
    world = distributed.start(args.device)
    report = {"config": config.name, "device": str(world.device)}
    if args.peer in STYLE_PEERS:
        from style.peers import benchmark_peer

        return report | benchmark_peer(args.peer, config, _checkout(args), args.repeats, args.steps)
    if config.family == "neural_style":
        settings = args.set + (args.fast or [])
        run = load_config(args.config, STYLIZERS, settings).run if args.fast else None
        return report | benchmark_iterations(config, world.device, args.repeats, args.steps, run)
    if config.family not in FAMILIES:
        raise UserError(f"{args.config}: {config.family} is not trained; see --smoothing")
    kind = FAMILIES[config.family]
    fast = measure.FAST if args.fast is None else args.fast
    if args.peer:
        report |= beside_peer(args, kind, config)
    elif args.operations:
        report |= measure.count_operations(kind, config, world)
    elif args.loader:
        report["loader"] = measure.benchmark_loader(config, kind.layout, args.repeats)
    else:
        other = None
        if args.against:
            other = load_config(args.config, FAMILIES, args.set + args.against)
            report["against"] = args.against
        steps = (args.repeats, args.steps)
        report |= measure.benchmark_steps(kind, config, world, fast, *steps, against=other)
    if args.curves:
        report["curves"] = measure.benchmark_curves(kind, config, world, fast, args.curves)
    return report


def beside_peer(args: cli.Args, kind: Any, config: Any) -> dict[str, Any]:
    """Measure beside a checkout of the official code."""
    from core.training.peers import benchmark_peer

    if config.family != args.peer:
        raise UserError(f"--peer {args.peer}: {args.config} is of {config.family}")
    return benchmark_peer(kind, config, _checkout(args), args.repeats, args.steps)


def _checkout(args: cli.Args) -> Path:
    if not args.against or len(args.against) > 1:
        raise UserError(f"--peer {args.peer}: --against PATH names a checkout of its code")
    return Path(args.against[0])


main = partial(cli.main, __doc__, options, benchmark)

if __name__ == "__main__":
    raise SystemExit(main())
