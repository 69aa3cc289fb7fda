"""A method on procedural data from end to end: make it, train, translate or draw, and score."""

from pathlib import Path
from typing import Any

from core.checkpoints import store
from core.data.folders import find_single
from core.errors import UserError
from core.family import Family
from core.inference.loading import load_sampler, load_translator
from core.inference.sampler import Sampler
from core.inference.translator import Translator
from core.jobs.samples import write_samples
from core.jobs.styles import choose_task
from core.jobs.stylize import Showing, draw_grid, grid_jobs, stylize_all
from core.jobs.translate import find_jobs, translate_all
from core.procedural.known_truth import diversity, score, score_captions
from core.procedural.paintings import make_paintings
from core.procedural.sets import make_faces, make_seasons
from core.runtime.distributed import World
from core.stylizer import Stylizer
from core.training.trainer import Trainer


def demo_of_family(
    kind: type[Family],
    config: Any,
    run_dir: Path,
    output: Path,
    world: World,
    *,
    num_train: int | None,
    num_test: int,
) -> None:
    """Train a family on procedural data, or go on with that, and show what it has learnt.

    The data are made in `data.root`: `num_train` scenes per domain (400), or faces (6000), and
    `num_test` scenes per domain. The training is `run_dir`, the pictures go to `output`.
    """
    root, size, seed = Path(config.data.root), config.data.load_size, config.train.seed
    if kind.layout == "single":
        make_faces(root, size=size, num_images=num_train or 6000, seed=seed)
    else:
        numbers = {"size": size, "num_train": num_train or 400, "num_test": num_test, "seed": seed}
        make_seasons(root, layout=kind.layout, **numbers)
    if not Trainer(kind, config, run_dir, world, store.newest(run_dir)).train():
        print("stopped; the same command goes on from here")
        return
    print(f"\ntraining samples: {run_dir / 'index.html'}")
    if kind.layout == "single":
        _show_samples(load_sampler(run_dir, {kind.name: kind}, world.device), output)
    else:
        _show_translations(load_translator(run_dir, {kind.name: kind}, world.device), output)


def _show_samples(sampler: Sampler, output: Path) -> None:
    """Draw faces; where the model takes captions, of every hair colour, and score these."""
    vocabulary = sampler.family.vocabulary
    captions = []
    if vocabulary is not None:
        hair, eyes = vocabulary.words["hair"], vocabulary.words["eyes"]
        captions = [f"{h} hair {eyes[i % len(eyes)]} eyes" for i, h in enumerate(hair)]
        print(score_captions(sampler))
    name = sampler.family.config.name
    print(f"samples: {write_samples(sampler, output, name, captions=captions)}")


def _show_translations(translator: Translator, output: Path) -> None:
    """Translate the held-out images, and say how close they came to the truth."""
    config = translator.family.config
    root = Path(config.data.root)
    found = score(translator, root)
    jobs = find_jobs(root, translator, None, None)
    task = choose_task(translator, jobs, synchronized=translator.has_styles)
    translate_all(task, jobs, output, config.name)
    spread = diversity(translator, root)
    for direction, scores in found.items():
        print(f"\n{direction}: {scores}")
        if direction in spread:
            pixels, features = spread[direction]
            print(f"diversity over styles: {pixels:.3f} in pixels, {features:.3f} in features")
    print(f"\nheld-out images:  {output / 'index.html'}")


def demo_of_stylizer(kind: type[Stylizer], config: Any, output: Path, world: World) -> None:
    """Show two summers, each as a winter and as three paintings; refuse what could not be made."""
    root = Path("datasets/demo/style")
    make_seasons(root, layout="unpaired", size=512, num_train=1, num_test=2)
    contents, winters = (find_single(root / folder) for folder in ("testA", "testB"))
    jobs = grid_jobs(contents, [*winters[:1], *make_paintings(root / "paintings", size=512)])
    stylizer = kind.build(config, world.device)
    failures = stylize_all(stylizer, jobs, config, output, Showing(resume=True))
    if failures:
        raise UserError(failures[0])
    print(f"{draw_grid(jobs, output)}\n{output / 'index.html'}")
