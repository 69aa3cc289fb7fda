"""Modes that vanilla GAN, LSGAN, WGAN and WGAN-GP find: `python scripts/coverage.py --output out/`.

Trains the four on 25 Gaussians and on procedural faces (32 px) for the same number of generator
updates, and writes coverage.md, coverage.json and coverage.png. Some minutes on two CPU cores; the
face trainings are ordinary runs below out/ and go on where an interruption left them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.config import validate
from core.family import Family
from core.procedural.coverage import compare_on_faces, compare_on_gaussians, write_report
from core.procedural.sets import make_faces
from core.runtime import cli, distributed
from families import FAMILIES

SIZE, NUM_CRITIC = 32, 5
_WIDTHS = {"nz": 64, "ngf": 16, "ndf": 16}
_CLIP = {"constraint": "clip", "norm_critic": "batch"}
FACES: dict[str, tuple[str, dict[str, Any]]] = {
    "vanilla": ("dcgan", {"model": _WIDTHS | {"objective": "vanilla"}}),
    "lsgan": ("dcgan", {"model": _WIDTHS | {"objective": "lsgan"}}),
    "wgan": (
        "wgan",
        {"model": _WIDTHS | _CLIP, "optim": {"optimizer": "rmsprop", "lr": 2.5e-4}},
    ),
    "wgan-gp": ("wgan", {"model": _WIDTHS, "optim": {"lr": 5e-4}}),
}
"""{objective: (family, what differs)}; the WGANs at five times the published rates, as the toy."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--gaussians", type=int, default=4000, help="generator updates; 0: none")
    parser.add_argument("--faces", type=int, default=800, help="generator updates; 0: none")
    parser.add_argument("--num-train", type=int, default=4000, help="faces to train on")
    parser.add_argument("--num-samples", type=int, default=1000, help="faces to read")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="of the faces; the toy stays on the CPU")
    args = parser.parse_args(argv)
    if min(args.gaussians, args.faces) < 0 or args.gaussians + args.faces == 0:
        parser.error("--gaussians, --faces: not negative, and not both 0")
    if args.num_samples < 64:
        parser.error(f"--num-samples {args.num_samples}: at least 64")
    return args


def face_runs(args: argparse.Namespace) -> dict[str, tuple[type[Family], Any]]:
    """Families and options of the face trainings; makes the faces."""
    root = args.output / "faces"
    make_faces(root, size=SIZE, num_images=args.num_train, seed=args.seed)
    data = {"root": str(root), "load_size": SIZE, "crop_size": SIZE, "cache": "ram"}
    runs: dict[str, tuple[type[Family], Any]] = {}
    for name, (family, options) in FACES.items():
        steps = args.faces * (NUM_CRITIC if family == "wgan" else 1)
        tree = {
            "family": family,
            "name": f"{family}/{name}",
            "data": data | {"num_workers": 0},
            "train": {"num_steps": steps, "batch_size": 64, "seed": args.seed},
            "log": {"samples_every_epochs": 0, "samples_every": max(1, steps // 4)},
            **options,
        }
        runs[name] = FAMILIES[family], validate(FAMILIES[family].Config, tree)
    return runs


def coverage(args: argparse.Namespace) -> int:
    """Train, measure, write."""
    tables = {}
    if args.gaussians:
        tables["25 Gaussians"] = compare_on_gaussians(args.gaussians, args.seed)
    if args.faces:
        tables["Procedural faces"] = compare_on_faces(
            face_runs(args),
            args.output,
            distributed.start(args.device),
            num_train=args.num_train,
            updates=args.faces,
            num_samples=args.num_samples,
        )
    print(f"{write_report(tables, args.output)}\n\n{args.output / 'coverage.png'}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 2 for bad input."""
    return cli.run(lambda: coverage(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
