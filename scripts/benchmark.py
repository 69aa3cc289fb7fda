"""Plain against fast training steps in one run: `python scripts/benchmark.py --config C`.

Plain is fp32, eager, contiguous, one forward after another, as the official code runs. Fast is what
this machine does best with the same mathematics (`core/training/benchmark.py` says which). Repeats
are interleaved, so that a busy machine slows both alike; the report is the ratio of medians. A
config of neural style measures its iterations the same way. `--against model.constraint=clip` tells
what WGAN's penalty costs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from core.config import load_config
from core.errors import UserError
from core.runtime import cli, distributed
from core.training.benchmark import (
    benchmark_against,
    benchmark_curves,
    benchmark_loader,
    benchmark_steps,
    fast_options,
)
from families import FAMILIES, STYLIZERS
from style.neural.benchmark import benchmark_iterations
from style.neural.stylizer import NeuralStyle
from style.photo.benchmark import benchmark_smoothing


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, help="of a family that trains")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats of each path")
    parser.add_argument("--steps", type=int, default=1, help="training steps (rounds) per repeat")
    parser.add_argument(
        "--fast",
        action="append",
        metavar="KEY=VALUE",
        help="train (or run) options of the fast path",
    )
    parser.add_argument(
        "--against",
        action="append",
        metavar="KEY=VALUE",
        help="what an option costs: fast steps of the config and of it so changed",
    )
    parser.add_argument(
        "--curves", type=int, default=0, metavar="N", help="compare N steps' losses"
    )
    parser.add_argument("--loader", action="store_true", help="loader alone against PIL each time")
    parser.add_argument(
        "--smoothing",
        type=int,
        nargs="*",
        metavar="PIXELS",
        help="matting against a sparse direct solver, default 256 512 1024 2048 (no --config)",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    return parser.parse_args(argv)


def benchmark(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.smoothing is not None:
        return publish(smoothing(args), args.json)
    if args.config is None:
        raise UserError("--config: required (or --smoothing)")
    config = load_config(args.config, {**FAMILIES, **STYLIZERS}, args.set)
    world = distributed.start(args.device)
    report: dict[str, object] = {"config": config.name, "device": str(world.device)}
    if config.family == NeuralStyle.name:
        fast_run = (
            load_config(args.config, STYLIZERS, args.set + args.fast).run if args.fast else None
        )
        report |= benchmark_iterations(config, world.device, args.repeats, args.steps, fast_run)
        return publish(report, args.json)
    kind = FAMILIES[config.family]
    fast = fast_options(world.device) if args.fast is None else args.fast
    if args.loader:
        report["loader"] = benchmark_loader(config, layout=kind.layout, repeats=args.repeats)
    elif args.against:
        other = load_config(args.config, FAMILIES, args.set + args.against)
        report["against"] = args.against
        report |= benchmark_against(kind, config, other, world, fast, args.repeats, args.steps)
    else:
        report |= benchmark_steps(kind, config, world, fast, args.repeats, args.steps)
    if args.curves:
        report["curves"] = benchmark_curves(kind, config, world, fast, args.curves)
    return publish(report, args.json)


def smoothing(args: argparse.Namespace) -> dict[str, object]:
    """Photorealistic smoothing; beyond 1024 pixels the direct solver takes too much memory."""
    with tempfile.TemporaryDirectory() as folder:
        return benchmark_smoothing(
            args.smoothing or [256, 512, 1024, 2048], folder, args.repeats, largest_direct=1024
        )


def publish(report: dict[str, object], file: Path | None) -> int:
    """Print the numbers, and write them to `file` if there is one."""
    text = json.dumps(report, indent=2)
    print(text)
    if file:
        file.write_text(text + "\n")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: benchmark(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
