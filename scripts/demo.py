"""The main job in one command: procedural data, a small CycleGAN, pictures, and how good they are.

Takes some two minutes on two CPU cores and needs no download. Called again, it goes on where it
was. `--config configs/pix2pix/demo.yaml` does the same for pix2pix. With a config of stylizers that
needs no file, e.g. configs/style/neural_random.yaml, summers are painted in the style of winters.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core import checkpoint, cli, distributed
from core.config import load_config
from core.data.demo import make_seasons
from core.data.folders import find_single
from core.errors import UserError
from core.inference import load
from core.known_truth import score_paired, score_unpaired
from core.stylize_files import Showing, draw_grid, grid_jobs, stylize_all
from core.trainer import Trainer
from core.translate_folder import find_jobs, translate_all
from families import FAMILIES, STYLIZERS

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "cyclegan" / "demo.yaml"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG, help="a demo.yaml")
    parser.add_argument("--run-dir", type=Path, help="default: runs/<name>")
    parser.add_argument("--output", type=Path, help="default: results/<name>")
    parser.add_argument("--num-train", type=int, default=400, help="scenes per domain")
    parser.add_argument("--num-test", type=int, default=24, help="scenes per domain")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", default="auto")
    return parser.parse_args(argv)


def demo(args: argparse.Namespace) -> int:
    """Make, train, translate, score."""
    config = load_config(args.config, {**FAMILIES, **STYLIZERS}, args.set)
    if config.family in STYLIZERS:
        return demo_of_style(args, config)
    kind, root = FAMILIES[config.family], Path(config.data.root)
    run_dir = args.run_dir or Path("runs") / config.name
    output = args.output or Path("results") / config.name
    make_seasons(
        root,
        layout="paired" if kind.layout == "paired" else "unpaired",
        size=config.data.load_size,
        num_train=args.num_train,
        num_test=args.num_test,
        seed=config.train.seed,
    )
    state = None
    if checkpoint.listed(run_dir / "checkpoints"):
        state = checkpoint.load(checkpoint.find(run_dir)[0])
    if not Trainer(kind, config, run_dir, distributed.start(args.device), state).train():
        print("stopped; the same command goes on from here")
        return 0
    translator = load(run_dir, args.device)
    scores = (score_paired if kind.layout == "paired" else score_unpaired)(translator, root)
    translate_all(translator, find_jobs(root, translator, None, None), output, config.name)
    for direction, score in scores.items():
        print(f"\n{direction}: {score}")
    print(f"\ntraining samples: {run_dir / 'index.html'}")
    print(f"held-out images:  {output / 'index.html'}")
    return 0


def demo_of_style(args: argparse.Namespace, config: Any) -> int:
    """Two summers, each in the style of two winters."""
    root, output = Path("datasets/demo/style"), args.output or Path("results") / config.name
    make_seasons(root, layout="unpaired", size=256, num_train=1, num_test=2)
    contents, styles = (find_single(root / folder).files for folder in ("testA", "testB"))
    device = distributed.start(args.device).device
    jobs = grid_jobs(contents, styles)
    stylizer = STYLIZERS[config.family].build(config, device)
    failures = stylize_all(stylizer, jobs, config, output, Showing(resume=True))
    if failures:
        raise UserError(failures[0])
    print(f"{draw_grid(jobs, output)}\n{output / 'index.html'}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: demo(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
