"""Train a model: `python scripts/train.py --config configs/cyclegan/horse2zebra.yaml`.

Stop with Ctrl-C and go on with `--resume`; several processes with
`torchrun --nproc-per-node N scripts/train.py ...`.
"""

from functools import partial
from pathlib import Path

from core.errors import UserError
from core.runtime import cli

RESUME = (
    "go on from a checkpoint or run folder; without PATH from this run's newest intact one; "
    "auto: go on if there is a run, begin one if not"
)
INIT = "begin a new run with the networks that fit, of our file or run folder or of official files"


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("--config", type=Path, help="YAML file; with --resume not needed")
    cli.add(parser, "--run-dir")
    parser.add_argument("--resume", nargs="?", const="", metavar="PATH", help=RESUME)
    parser.add_argument("--init", type=Path, metavar="CHECKPOINT", help=INIT)
    parser.add_argument("--init-only", metavar="NAMES", help="of these networks, e.g. G_A,G_B")
    cli.add(parser, "--set", "--device", "--max-pixels")


def train(args: cli.Args) -> int:
    """Train to the end or until stopped."""
    if args.config is None and args.resume is None:
        raise UserError("--config FILE is needed, or --resume PATH to go on with a run")
    if args.init is not None and args.resume not in (None, "auto"):
        raise UserError("--init: a run that goes on has its own weights; leave out --resume")
    if args.init_only is not None and args.init is None:
        raise UserError("--init-only: add --init CHECKPOINT")
    from core.data.images import set_max_pixels
    from core.training.launch import find_start, launch
    from families import FAMILIES, OFFICIAL

    set_max_pixels(args.max_pixels)
    start = find_start(
        FAMILIES,
        overrides=args.set,
        init_only=tuple((args.init_only or "").replace(",", " ").split()),
        official=OFFICIAL,
        **cli.chosen(args, "config", "run_dir", "resume", "init"),
    )
    return launch(start, args.device)


main = partial(cli.main, __doc__, options, train)

if __name__ == "__main__":
    raise SystemExit(main())
