"""Measure a model, or folders: `evaluate.py --checkpoint RUN`, `--generated DIR --real DIR`.

Prints a table and writes it as JSON. Of families that make images from noise (dcgan, wgan) samples
are compared with the real images. What is measured, and where the weights behind FID, KID and LPIPS
come from, is in docs/evaluation.md.
"""

from functools import partial
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    what = parser.add_argument_group("a model")
    cli.add(what, "--checkpoint", required=False)
    cli.add(what, "--which")
    what.add_argument("--data", type=Path, help="data set; default: the one trained on")
    cli.add(what, "--preprocess", default="official")
    what.add_argument("--num-styles", type=int, default=10, metavar="N", help="default: 10")
    cli.add(what, "--precision", "--eval", "--speed")
    folders = parser.add_argument_group("pictures that are there: folders, lists .txt, shards .tar")
    folders.add_argument("--generated", type=Path, help="what is measured")
    folders.add_argument("--real", type=Path, help="real pictures, or their statistics .npz")
    folders.add_argument("--paired", action="store_true", help="--real has truths of equal names")
    folders.add_argument("--source", type=Path, help="what they were made from, by equal names")
    folders.add_argument("--labels", type=Path, help="true label maps in colours, by equal names")
    folders.add_argument("--palette", type=Path, help="YAML: a colour [r, g, b] for each class")
    folders.add_argument("--segmenter", metavar="MODULE:FUNCTION", help="default: by colour")
    folders.add_argument("--save-statistics", type=Path, help="of --real, .npz")
    cli.add(parser, "--output", required=False, help="JSON file; default: beside what is measured")
    cli.add(parser, "--max-images")
    networks = ["inception", "vgg16", "dinov2", "student", "random"]
    parser.add_argument("--features", default="inception", choices=networks)
    parser.add_argument("--resize", default="tf1", choices=["tf1", "clean", "legacy"])
    parser.add_argument("--kid-subset-size", type=int, default=100, help="default: 100")
    parser.add_argument("--neighbours", type=int, default=3, help="k of precision; default: 3")
    parser.add_argument("--bootstrap", type=int, default=20, help="draws; 0: no intervals")
    parser.add_argument("--cache", metavar="DIR", help="features of real images; '': none")
    folder = "of FID, KID and LPIPS; default: torch.hub's folder"
    parser.add_argument("--weights", metavar="DIR", help=folder)
    cli.add(parser, "--download", "--device", "--max-pixels")


def measure(args: cli.Args) -> None:
    """Load, measure, report."""
    cli.require_at_least(
        args, max_images=1, num_styles=2, kid_subset_size=2, neighbours=1, bootstrap=0
    )
    _refuse_contradictions(args)
    from core.data.images import set_max_pixels
    from core.evaluation.metrics.weights import fetch_missing
    from core.options import EvaluateOptions

    set_max_pixels(args.max_pixels)
    names = EvaluateOptions.model_fields.keys() & vars(args).keys()
    measured = EvaluateOptions(**cli.chosen(args, *names))
    if args.download:
        fetch_missing(args.weights)
    (_measure_model if args.checkpoint else _measure_folder)(args, measured)


def _refuse_contradictions(args: cli.Args) -> None:
    pictures = {"--real": args.real, "--source": args.source, "--labels": args.labels}
    if (args.checkpoint is None) == (args.generated is None):
        raise UserError("give either --checkpoint or --generated")
    if args.generated and not any(pictures.values()):
        raise UserError("--generated is measured against --real, --source or --labels")
    if bool(args.labels) != bool(args.palette):
        raise UserError("--labels and --palette go together")
    if args.segmenter and not args.labels:
        raise UserError("--segmenter goes with --labels")
    other = {"--data": args.data, "--which": args.which != "last"} if args.generated else pictures
    if misplaced := [name for name, given in other.items() if given]:
        kind = "--checkpoint" if args.generated else "--generated"
        raise UserError(f"{misplaced[0]} goes with {kind}")
    if (args.paired or args.save_statistics) and (not args.real or args.real.suffix == ".npz"):
        raise UserError("--paired and --save-statistics need real pictures: --real FOLDER")


def _measure_model(args: cli.Args, measured: Any) -> None:
    from core.checkpoints.which import choose
    from core.evaluation.record import evaluate
    from core.runtime import distributed
    from families import FAMILIES

    found, file = evaluate(
        choose(args.checkpoint, args.which),
        FAMILIES,
        measured,
        distributed.start(args.device).device,
        **cli.chosen(args, "data", "preprocess", "precision", "test_mode", "speed", "output"),
    )
    print(f"{found}\n{file}")


def _measure_folder(args: cli.Args, measured: Any) -> None:
    from core.evaluation.folders import Labels, evaluate_folders, load_segmenter, read_colours
    from core.evaluation.record import write_record
    from core.runtime import distributed

    labels = None
    if args.labels:
        segmenter = load_segmenter(args.segmenter) if args.segmenter else None
        labels = Labels(args.labels, read_colours(args.palette), segmenter)
    found = evaluate_folders(
        args.generated,
        measured,
        distributed.start(args.device).device,
        labels=labels,
        **cli.chosen(args, "real", "paired", "source", "save_statistics"),
    )
    file = args.output or args.generated.with_name(f"{args.generated.name}.evaluation.json")
    about = {name: str(getattr(args, name) or "") for name in ("generated", "real", "source")}
    write_record(file, about, measured, found)
    print(f"{found}\n{file}")


main = partial(cli.main, __doc__, options, measure)

if __name__ == "__main__":
    raise SystemExit(main())
