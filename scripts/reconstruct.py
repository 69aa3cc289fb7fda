"""What single layers keep of an image: figure 1 of Gatys, Ecker, Bethge (CVPR 2016).

python scripts/reconstruct.py --content photo.jpg --style painting.jpg --output out/

The content is reconstructed from each layer alone, the style from the first layer, the first two,
and so on. out/reconstructions.png is the figure; the single pictures stand in out/images/.
"""

from functools import partial
from pathlib import Path

from core.errors import UserError
from core.runtime import cli

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "style" / "neural_student.yaml"


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("--config", type=Path, default=CONFIG, help="of neural style")
    parser.add_argument("--content", type=Path, help="image whose content is reconstructed")
    parser.add_argument("--style", type=Path, help="image whose style is reconstructed")
    parser.add_argument("--layers", nargs="+", help="default: the config's style layers")
    cli.add(parser, "--output", "--set", "--resume", "--device")


def reconstruct(args: cli.Args) -> None:
    """Optimise a picture for each layer of each image, then draw the figure."""
    if args.content is None and args.style is None:
        raise UserError("--content or --style is needed")
    from core.config import load_config
    from core.jobs.stylize import Showing
    from core.runtime import distributed
    from families import STYLIZERS
    from style.neural.reconstruct import reconstruct_layers

    config = load_config(args.config, STYLIZERS, args.set)
    showing = Showing(every=0, resume=args.resume)
    device = distributed.start(args.device).device
    images = (args.content, args.style)
    print(reconstruct_layers(config, *images, args.layers, args.output, showing, device))


main = partial(cli.main, __doc__, options, reconstruct)

if __name__ == "__main__":
    raise SystemExit(main())
