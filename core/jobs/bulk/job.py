"""What `scripts/translate.py` does, after its command line."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from core.errors import UserError
from core.inference.styles import given
from core.inference.translator import Translator
from core.jobs.bulk.engines import Engine, TranslatorEngine
from core.jobs.bulk.manifest import Manifest
from core.jobs.bulk.outputs import find_output
from core.jobs.bulk.pipeline import Pipeline, share
from core.jobs.bulk.progress import Progress
from core.jobs.bulk.results import Encoding
from core.jobs.bulk.sources import ShardsSource, find_source
from core.jobs.bulk.workers import Workers
from core.runtime.distributed import World


def run(engine: Engine, settings: Mapping[str, Any], args: Namespace, world: World) -> int:
    """Make the results of one process's share of the input.

    Returns:
        The exit code: 0, 1 if an image was left out, 2 if all were.

    Raises:
        UserError: nothing to read, or an output that cannot be written.
    """
    encoding = Encoding(args.format, args.quality, engine.labels)
    source = find_source(args.input, args.output)
    inputs = source.parts() if isinstance(source, ShardsSource) else ()
    output = find_output(args.output, encoding, inputs)
    settings = {**settings, "format": args.format, "quality": args.quality}
    manifest = Manifest(output.folder, settings, world.rank, world.size, overwrite=args.overwrite)
    progress = Progress(shown=world.is_main)
    ahead = 2 * args.batch_size + 2 * args.workers
    if args.overwrite:
        output.forget(world.rank, world.size)
    with manifest, Workers(args.workers) as workers:
        pipeline = Pipeline(engine, output, manifest, workers, progress, ahead)
        pipeline.run(share(source, output, world.rank, world.size))
        output.finish()
    print(f"{args.output}: {progress.close()}")
    if manifest.num_failed:
        print(f"{manifest.num_failed} left out: {manifest.failures}")
    return (1 if manifest.num_done else 2) if manifest.num_failed else 0


def translator_engine(translator: Translator, args: Namespace) -> TranslatorEngine:
    """Choose direction and styles of a checkpoint.

    Raises:
        UserError: options that do not fit the checkpoint or each other.
    """
    if args.white is not None:
        translator.set_white(args.white)
    direction = translator.check_direction(args.direction)
    asked = "--style" if args.style else "--num-styles" if args.num_styles else ""
    if asked:
        translator.require_styles(f"{asked}: ")
    if args.style and args.num_styles:
        raise UserError("give one of --num-styles and --style")
    styles = given(translator, args.style, direction) if args.style else None
    return TranslatorEngine(
        translator,
        direction,
        styles=styles,
        num_styles=args.num_styles or 1,
        seed=args.seed,
        batch_size=args.batch_size,
    )
