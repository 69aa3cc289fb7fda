"""What `scripts/translate.py` does, after its command line."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from core.config import dump_config
from core.errors import UserError
from core.inference.styles import given
from core.inference.translator import Translator
from core.jobs.bulk.engines import Engine, StylizerEngine, TranslatorEngine
from core.jobs.bulk.gallery import Gallery
from core.jobs.bulk.manifest import Manifest
from core.jobs.bulk.outputs import FolderOutput, find_output
from core.jobs.bulk.pipeline import Pipeline, share
from core.jobs.bulk.progress import Progress
from core.jobs.bulk.results import Encoding
from core.jobs.bulk.sources import ShardsSource, find_source
from core.jobs.bulk.workers import Workers
from core.runtime.distributed import World
from core.runtime.signals import stop_requests
from core.stylizer import Stylizer

_MOST_WORKERS = 16


def run(engine: Engine, settings: Mapping[str, Any], args: Namespace, world: World) -> int:
    """Make the results of one process's share of the input.

    Returns:
        The exit code: 0, 1 if an image was left out, 2 if all were.

    Raises:
        UserError: nothing to read, or an output that cannot be written.
        KeyboardInterrupt: a stop was asked for; what was begun is done.
    """
    source = find_source(args.input, args.output)
    encoding = Encoding(args.format, args.quality, engine.labels)
    inputs = source.parts() if isinstance(source, ShardsSource) else ()
    output = find_output(args.output, encoding, inputs)
    if args.gallery and not isinstance(output, FolderOutput):
        raise UserError(f"--gallery: shows files, and {args.output} are shards")
    manifest = Manifest(
        output.folder,
        {**settings, "format": args.format, "quality": args.quality},
        world.rank,
        world.size,
        overwrite=args.overwrite,
        check=args.check,
    )
    gallery = Gallery(args.gallery)
    with manifest, Workers(_num_workers(args.workers)) as workers, stop_requests() as stop:
        if args.overwrite:
            output.forget(world.rank, world.size)
        progress = Progress(shown=world.is_main, count=source.count)
        pipeline = Pipeline(engine, output, manifest, workers, progress, stop)
        pipeline.run(gallery.watch(share(source, output, world.rank, world.size)))
        if stop:
            progress.close()
            raise KeyboardInterrupt
        output.finish()
    print(f"{args.output}: {progress.close()}")
    if args.gallery and world.is_main:
        print(gallery.write(output.folder, encoding, engine.span))
    if manifest.num_failed:
        print(f"{manifest.num_failed:,} left out, see {manifest.failures}")
    return (1 if manifest.num_done else 2) if manifest.num_failed else 0


def _num_workers(asked: int | None) -> int:
    """Return the number asked for, or one for each core of this process but its own."""
    if asked is not None:
        return asked
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(max(1, cores - 1), _MOST_WORKERS)


def of_checkpoint(translator: Translator, args: Namespace) -> tuple[Engine, dict[str, Any]]:
    """Choose direction and styles of a checkpoint; return them with what results depend on.

    Raises:
        UserError: options that do not fit the checkpoint or each other.
    """
    if args.white is not None:
        translator.set_white(args.white)
    direction = translator.check_direction(args.direction)
    if asked := "--style" if args.style else "--num-styles" if args.num_styles else "":
        translator.require_styles(f"{asked}: ")
    if args.style and args.num_styles:
        raise UserError("give one of --num-styles and --style")
    styles = given(translator, args.style, direction) if args.style else None
    num_styles = args.num_styles or 1
    engine = TranslatorEngine(
        translator,
        direction,
        styles=styles,
        num_styles=num_styles,
        seed=args.seed,
        batch_size=args.batch_size,
    )
    settings = {
        "checkpoint": translator.origin,
        "direction": direction,
        "precision": args.precision,
        "test mode": args.test_mode,
        "white": args.white,
        "styles": list(map(str, args.style)) if args.style else num_styles,
        "seed": args.seed,
    }
    return engine, settings


def of_stylizer(stylizer: Stylizer, config: Any, args: Namespace) -> tuple[Engine, dict[str, Any]]:
    """Give a method without training its styles; return it with what results depend on.

    Raises:
        UserError: no style, or one that cannot be read.
    """
    if not args.style:
        raise UserError("--style: with --config, say whose style the images get")
    settings = {"config": dump_config(config), "styles": list(map(str, args.style))}
    return StylizerEngine(stylizer, args.style), settings
