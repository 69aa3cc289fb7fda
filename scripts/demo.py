"""The main job in one command: procedural data, a small CycleGAN, pictures, and how good they are.

Takes some two minutes on two CPU cores and needs no download. Called again, it goes on where it
was. `--config configs/pix2pix/demo.yaml` does the same for pix2pix, `configs/dcgan/demo.yaml` for
faces from noise, and `configs/dcgan/faces_text.yaml` for faces of the colours asked for. With a
config of stylizers that needs no file, configs/style/neural_random.yaml or photo_wavelet.yaml,
summers become a winter and procedural paintings.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.checkpoints import store
from core.config import load_config
from core.data.folders import find_single
from core.errors import UserError
from core.jobs.samples import write_samples
from core.jobs.styles import StyleChoice, choose_task
from core.jobs.stylize import Showing, draw_grid, grid_jobs, stylize_all
from core.jobs.translate import find_jobs, translate_all
from core.procedural.known_truth import diversity, score_captions, score_paired, score_unpaired
from core.procedural.paintings import make_paintings
from core.procedural.sets import make_faces, make_seasons
from core.runtime import cli, distributed
from core.training.trainer import Trainer
from families import FAMILIES, STYLIZERS, load, load_sampler

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "cyclegan" / "demo.yaml"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG, help="a demo.yaml")
    parser.add_argument("--run-dir", type=Path, help="default: runs/<name>")
    parser.add_argument("--output", type=Path, help="default: results/<name>")
    parser.add_argument("--num-train", type=int, help="scenes per domain (400), or faces (6000)")
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
    size, seed = config.data.load_size, config.train.seed
    if kind.layout == "single":
        make_faces(root, size=size, num_images=args.num_train or 6000, seed=seed)
    else:
        make_seasons(
            root,
            layout="paired" if kind.layout == "paired" else "unpaired",
            size=size,
            num_train=args.num_train or 400,
            num_test=args.num_test,
            seed=seed,
        )
    state = None
    if store.listed(run_dir / "checkpoints"):
        state = store.load(store.find(run_dir)[0])
    if not Trainer(kind, config, run_dir, distributed.start(args.device), state).train():
        print("stopped; the same command goes on from here")
        return 0
    print(f"\ntraining samples: {run_dir / 'index.html'}")
    show = show_samples if kind.layout == "single" else show_translations
    show(args, config, run_dir, output)
    return 0


def show_samples(args: argparse.Namespace, config: Any, run_dir: Path, output: Path) -> None:
    """Faces; where the model takes captions, of every hair colour, and how often they are right."""
    sampler = load_sampler(run_dir, args.device)
    vocabulary = sampler.family.vocabulary
    captions = []
    if vocabulary is not None:
        hair, eyes = vocabulary.words["hair"], vocabulary.words["eyes"]
        captions = [f"{h} hair {eyes[i % len(eyes)]} eyes" for i, h in enumerate(hair)]
        print(score_captions(sampler))
    print(f"samples: {write_samples(sampler, output, config.name, captions=captions)}")


def show_translations(args: argparse.Namespace, config: Any, run_dir: Path, output: Path) -> None:
    """The held-out images translated, and how close they came."""
    kind, root = FAMILIES[config.family], Path(config.data.root)
    translator = load(run_dir, args.device)
    scores = (score_paired if kind.layout == "paired" else score_unpaired)(translator, root)
    jobs = find_jobs(root, translator, None, None)
    task = choose_task(translator, jobs, StyleChoice(synchronized=translator.styles is not None))
    translate_all(task, jobs, output, config.name)
    spread = diversity(translator, root)
    for direction, score in scores.items():
        print(f"\n{direction}: {score}")
        if direction in spread:
            pixels, features = spread[direction]
            print(f"diversity over styles: {pixels:.3f} in pixels, {features:.3f} in features")
    print(f"\nheld-out images:  {output / 'index.html'}")


def demo_of_style(args: argparse.Namespace, config: Any) -> int:
    """Two summers, each as a winter and as three paintings."""
    root, output = Path("datasets/demo/style"), args.output or Path("results") / config.name
    make_seasons(root, layout="unpaired", size=512, num_train=1, num_test=2)
    contents, winters = (find_single(root / folder).files for folder in ("testA", "testB"))
    styles = [*winters[:1], *make_paintings(root / "paintings", size=512)]
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
