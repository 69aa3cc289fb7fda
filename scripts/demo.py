"""The main job in one command: procedural data, a small CycleGAN, pictures, and how good they are.

Takes some two minutes on two CPU cores and needs no download. Called again, it goes on where it
was. `--config configs/pix2pix/demo.yaml` does the same for pix2pix, `configs/dcgan/demo.yaml` for
faces from noise, and `configs/dcgan/faces_text.yaml` for faces of the colours asked for. With a
config of stylizers that needs no file, configs/style/neural_random.yaml or photo_wavelet.yaml,
summers become a winter and procedural paintings.
"""

from functools import partial
from pathlib import Path

from core.runtime import cli

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "cyclegan" / "demo.yaml"


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("--config", type=Path, default=CONFIG, help="a demo.yaml")
    cli.add(parser, "--run-dir")
    cli.add(parser, "--output", required=False, help="default: results/<name>")
    parser.add_argument("--num-train", type=int, help="scenes per domain (400), or faces (6000)")
    parser.add_argument("--num-test", type=int, default=24, help="scenes per domain")
    cli.add(parser, "--set", "--device")


def demo(args: cli.Args) -> None:
    """Make, train, translate, score."""
    from core.config import load_config
    from core.procedural.demo import demo_of_family, demo_of_stylizer
    from core.runtime import distributed
    from families import FAMILIES, STYLIZERS

    config = load_config(args.config, {**FAMILIES, **STYLIZERS}, args.set)
    output = args.output or Path("results") / config.name
    world = distributed.start(args.device)
    if config.family in STYLIZERS:
        demo_of_stylizer(STYLIZERS[config.family], config, output, world)
        return
    run_dir = args.run_dir or Path("runs") / config.name
    numbers = {"num_train": args.num_train, "num_test": args.num_test}
    demo_of_family(FAMILIES[config.family], config, run_dir, output, world, **numbers)


main = partial(cli.main, __doc__, options, demo)

if __name__ == "__main__":
    raise SystemExit(main())
