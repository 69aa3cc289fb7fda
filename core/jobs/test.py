"""What `scripts/test.py` does with a loaded checkpoint, after its command line."""

from argparse import Namespace

from core.errors import UserError
from core.inference.sampler import Sampler
from core.inference.translator import Translator
from core.jobs.samples import read_captions, read_noise, write_samples
from core.jobs.styles import choose_task
from core.jobs.translate import find_jobs, translate_all
from core.runtime.distributed import World


def translate(translator: Translator, args: Namespace, world: World) -> None:
    """Translate every input, each process its share, and print where the page is.

    Raises:
        UserError: options that do not fit the checkpoint, or images that were left out.
    """
    if world.is_main:
        print(translator.speed)
    if args.white is not None:
        translator.set_white(args.white)
    direction = translator.check_direction(args.direction) if args.direction else None
    jobs = find_jobs(args.input, translator, direction, args.max_images, args.output)
    config = translator.family.config
    task = choose_task(
        translator,
        jobs,
        config.data if args.preprocess == "official" else None,
        num_styles=args.num_styles,
        synchronized=args.synchronized,
        examples=args.style,
        ends=args.interpolate,
        num_frames=args.frames,
        seed=args.seed,
        max_images=args.max_images,
        reconstruct=args.reconstruct,
    )
    failures = translate_all(task, jobs, args.output, config.name, world)
    if world.is_main:
        print(args.output / "index.html")
    if failures:
        raise UserError(f"{len(failures)} of {len(jobs)} images left out, first: {failures[0]}")


def draw(sampler: Sampler, args: Namespace) -> None:
    """Draw samples from noise, and print where the page is."""
    print(sampler.speed)
    captions = args.text + (read_captions(args.texts) if args.texts else [])
    noise = read_noise(args.noise, sampler.family.noise_dim) if args.noise else None
    title, choice = sampler.family.config.name, {"num": args.num, "seed": args.seed}
    print(write_samples(sampler, args.output, title, captions=captions, noise=noise, **choice))
