"""Train a model: `python scripts/train.py --config configs/cyclegan/horse2zebra.yaml`.

Stop with Ctrl-C and go on with `--resume`; several processes with
`torchrun --nproc-per-node N scripts/train.py ...`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from core.errors import UserError
from core.runtime import cli


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", type=Path, help="YAML file; with --resume not needed")
    cli.add(parser, "--run-dir")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="PATH",
        help="go on from a checkpoint or run folder; default: this run's newest intact one",
    )
    cli.add(parser, "--set", "--device")
    args = parser.parse_args(argv)
    if args.config is None and not args.resume:
        raise UserError("--config FILE is needed, or --resume PATH to go on with a run")
    if args.config is None and args.set:
        raise UserError("--set needs --config: without it the checkpoint's options hold")
    return args


def train(args: argparse.Namespace) -> None:
    """Train to the end or until stopped."""
    from core.training.launch import launch
    from families import FAMILIES

    launch(FAMILIES, args.config, args.set, args.run_dir, args.resume, args.device)


main = partial(cli.main, parse, train)

if __name__ == "__main__":
    raise SystemExit(main())
