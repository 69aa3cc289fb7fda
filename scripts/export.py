"""Write a model for others: `python scripts/export.py --checkpoint RUN --output exported/`.

As ONNX, one file per direction, `<name>_<direction>.onnx`, for any batch and image size; each is
compared with our own results before it is written (docs/evaluation.md). With `--card` as a folder
in the form of Hugging Face: weights, options and a model card (docs/checkpoints.md).
"""

from functools import partial

from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    cli.add(parser, "--checkpoint", "--which", "--output", "--eval")
    cli.add(parser, "--direction", help="of ONNX; default: all there are")
    card = "model.safetensors, config.json and a model card"
    parser.add_argument("--card", action="store_true", help=card)


def export(args: cli.Args) -> None:
    """Load, export, report."""
    from core.checkpoints.which import choose
    from core.convert.onnx import export_onnx
    from families import FAMILIES, load

    checkpoint = choose(args.checkpoint, args.which)
    if args.card:
        from core.convert.card import write_folder

        print(*write_folder(checkpoint, args.output, FAMILIES), sep="\n")
        return
    translator = load(checkpoint, "cpu", test_mode=args.test_mode, speed="off")
    name = translator.family.config.name.replace("/", "_")
    for direction in [args.direction] if args.direction else translator.directions:
        done = export_onnx(translator, direction, args.output / f"{name}_{direction}.onnx")
        sizes = ", ".join("x".join(map(str, shape)) for shape in done.shapes)
        print(f"{done.path}: differs from ours by {done.difference:.1e} at most ({sizes})")


main = partial(cli.main, __doc__, options, export)

if __name__ == "__main__":
    raise SystemExit(main())
