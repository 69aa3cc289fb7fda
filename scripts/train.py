"""Train a model: `python scripts/train.py --config configs/cyclegan/horse2zebra.yaml`.

Stop with Ctrl-C and go on with `--resume`; several processes with
`torchrun --nproc-per-node N scripts/train.py ...`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from core.checkpoints import store
from core.config import load_config, validate, without_retired
from core.errors import UserError
from core.runtime import cli, distributed
from core.training.trainer import Trainer
from families import FAMILIES


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, help="YAML file; with --resume not needed")
    parser.add_argument("--run-dir", type=Path, help="default: runs/<name>")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="PATH",
        help="go on from a checkpoint or run folder; default: this run's newest intact one",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. train.batch_size=4"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser.parse_args(argv)


def train(args: argparse.Namespace) -> int:
    """Read the config, find the checkpoint, train."""
    state = None
    if args.config is None and not args.resume:
        raise UserError("--config FILE is needed, or --resume PATH to go on with a run")
    if args.config is not None:
        config = load_config(args.config, FAMILIES, args.set)
    if args.resume is not None:
        start = Path(args.resume) if args.resume else args.run_dir or Path("runs") / config.name
        file, damaged = store.find(start)
        for line in damaged:
            print(f"damaged: {line}")
        print(f"resuming from {file}")
        state = store.load(file)
        if args.config is None:
            if args.set:
                raise UserError("--set needs --config: without it the checkpoint's options hold")
            kind = FAMILIES.get(state["family"])
            if kind is None:
                raise UserError(f"{file}: unknown family {state['family']!r}")
            config = validate(kind.Config, without_retired(state["config"]), source=str(file))
            args.run_dir = args.run_dir or file.parent.parent
    run_dir = args.run_dir or Path("runs") / config.name
    if state is None and store.listed(run_dir / "checkpoints"):
        raise UserError(f"{run_dir}: holds a run already; add --resume, or another --run-dir")
    world = distributed.start(args.device)
    trainer = Trainer(FAMILIES[config.family], config, run_dir, world, state)
    complete = trainer.train()
    if world.is_main:
        print(
            f"{'finished' if complete else 'stopped'} at step {trainer.step}; {run_dir}/index.html"
        )
        if not complete:
            print(f"go on with: python scripts/train.py --resume {run_dir}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: train(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
