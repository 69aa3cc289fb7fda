"""Painting files with a trained network: which of its styles, and what is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from core.errors import UserError
from core.inference.styles import StyleSet
from core.inference.translator import Translator
from core.jobs.styles import InStyles
from core.jobs.translate import find_jobs, translate_all

_STYLE = re.compile(r"(\d+)(?::(\d*\.?\d+))?")


def numbered(texts: Sequence[str], num_styles: int, *, each: bool) -> StyleSet:
    """Return the style codes that numbers stand for, [K, num_styles].

    Args:
        texts: `2`, counted from 1, or `2:0.7` with a weight.
        num_styles: that the network has learnt.
        each: give every style by itself; otherwise one, in which they are blended by weight.

    Raises:
        UserError: no such style, or no weight above 0.
    """
    codes = torch.zeros(len(texts), num_styles)
    for row, text in enumerate(texts):
        match = _STYLE.fullmatch(text)
        if match is None or not 1 <= int(match[1]) <= num_styles:
            raise UserError(
                f"--style {text}: with --fast a number from 1 to {num_styles}, or several to be "
                "blended, such as 1:0.7 3:0.3"
            )
        codes[row, int(match[1]) - 1] = float(match[2] or 1)
    if not bool((codes.sum(1 if each else None) > 0).all()):
        raise UserError(f"--style {' '.join(texts)}: the weights of a blend are 0 in sum")
    if each:
        codes, texts = (codes > 0).float(), [text.split(":")[0] for text in texts]
    else:
        codes, texts = codes.sum(0, keepdim=True), ["-".join(texts).replace(":", "x")]
    names = tuple(f"style_{text}" for text in texts)
    return StyleSet(names, codes / codes.sum(1, keepdim=True), (None,) * len(names))


def paint(
    translator: Translator, content: Path, styles: Sequence[str], output: Path, *, each: bool
) -> list[str]:
    """Paint an image, or the images of a folder; return one line for each that was left out.

    Arguments as for `numbered`; `output/index.html` shows the results, `grid_AtoB.png` all at once.

    Raises:
        UserError: nothing there, no such style, or a checkpoint of another family.
    """
    family = translator.require_styles("--fast: ")
    if family.name != "fast_style":
        raise UserError(f"--fast: a checkpoint of {family.name}; translate with scripts/test.py")
    common = numbered(styles, family.style_dim, each=each)
    jobs = find_jobs(content, translator, None, None)
    task = InStyles(translator, common={"AtoB": common}, num_styles=1, seed=0)
    return translate_all(task, jobs, output, family.config.name)
