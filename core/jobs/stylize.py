"""Stylizers over files: which content goes with which style, bars, pictures, resumption, gallery.

Results are `images/<name>.png`. While one is in the making, `unfinished/<name>.png` is what to go
on from; it and the result say in a PNG text what made them, so that `resume` neither repeats what
is done nor goes on with other options or other images.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from core.config import dump_config
from core.data.folders import find_single
from core.data.images import has_image_extension, open_image, open_label_map, picture_of
from core.data.names import distinct, printable, result_names, same
from core.data.pages import pages, split_page
from core.errors import UserError
from core.report.gallery import write_test_gallery
from core.report.pictures import save_gif, save_png, sheet, thumbnail
from core.report.results import save_picture
from core.stylizer import Look, Stylizer

PAIR_FOLDERS = ("content", "style", "content_segment", "style_segment")
_TERMS_EVERY = 10
"""Steps between two readings of the loss terms: reading waits for a GPU."""
_GIF_MILLISECONDS = 120
_GIF_HOLD = 10
"""Frames for which the result stands still at the end of a GIF."""


@dataclass(frozen=True)
class StyleJob:
    """One result to be made, with the files it is made of.

    Its name is unique and has no extension. Styles are blended. Of label maps there is one for each
    image, or none.
    """

    name: str
    content: Path
    styles: tuple[Path, ...]
    content_mask: Path | None = None
    style_masks: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Showing:
    """What is shown of the work.

    Attributes:
        every: steps between two intermediate pictures in `steps/<name>/`; 0: none.
        gif: make `steps/<name>.gif` of them.
        resume: keep finished results and go on with unfinished ones.
    """

    every: int = 100
    gif: bool = False
    resume: bool = False


def _named(files: Sequence[Path]) -> list[tuple[str, Path]]:
    """Name files after themselves, and where that is not enough after their folders too."""
    folder = Path(os.path.commonpath([file.parent for file in files]))
    own = [file.with_suffix("").name for file in files]
    whole = [name.replace("/", "_") for name in result_names(files, folder)]
    repeated = Counter(same(name).casefold() for name in own)
    names = [
        name if repeated[same(name).casefold()] == 1 else longer
        for name, longer in zip(own, whole, strict=True)
    ]
    return list(zip(distinct([printable(name) for name in names]), files, strict=True))


def grid_jobs(contents: Sequence[Path], styles: Sequence[Path]) -> list[StyleJob]:
    """Pair each content with each style, content by content."""
    pairs = [(row, column) for row in _named(contents) for column in _named(styles)]
    names = distinct([f"{row}_{column}" for (row, _), (column, _) in pairs])
    return [
        StyleJob(name, content, (style,))
        for name, ((_, content), (_, style)) in zip(names, pairs, strict=True)
    ]


def find_jobs(
    content: Path,
    styles: Sequence[Path],
    content_mask: Path | None = None,
    style_masks: Sequence[Path] = (),
    *,
    every_pair: bool = False,
    output: Path | None = None,
) -> list[StyleJob]:
    """Find contents and styles, each path an image or a folder.

    Each content gets the blend of all styles, or with `every_pair` one style after another. What an
    earlier call has left in `output` is neither.

    Raises:
        UserError: nothing there, or a mask for several contents.
    """
    contents = find_single(content, without=output)
    files = tuple(file for path in styles for file in find_single(path, without=output))
    if every_pair:
        return grid_jobs(contents, files)
    if content_mask is not None and len(contents) > 1:
        raise UserError(
            f"--content-mask {content_mask}: one mask for {len(contents)} content images; put "
            "images and masks into folders and use --pairs"
        )
    masks = (content_mask, tuple(style_masks))
    return [StyleJob(name, file, files, *masks) for name, file in _named(contents)]


def pair_jobs(root: Path) -> list[StyleJob]:
    """Find pairs of equal name in `content/` and `style/`, with their maps in `*_segment/` if any.

    Raises:
        UserError: no such folders, or an image without its partner.
    """
    found: list[dict[str, Path]] = []
    for folder in PAIR_FOLDERS:
        present = (root / folder).is_dir()
        if not present and not folder.endswith("_segment"):
            raise UserError(f"{root}: no folder {folder}/; --pairs needs content/ and style/")
        found.append(_by_name(root / folder) if present else {})
    contents, styles, content_masks, style_masks = found
    alone = sorted(contents.keys() ^ styles.keys())
    if alone or not contents:
        where = "content" if alone and alone[0] in contents else "style"
        what = f"{where}/{alone[0]} has no partner of its name" if alone else "no images"
        raise UserError(f"{root}: {what} in content/ and style/")
    jobs = []
    for name in sorted(contents):
        if (name in content_masks) != (name in style_masks):
            raise UserError(f"{root}: {name} has a map on one side only; add or remove one")
        masks = (style_masks[name],) if name in style_masks else ()
        jobs.append(StyleJob(name, contents[name], (styles[name],), content_masks.get(name), masks))
    return jobs


def _by_name(folder: Path) -> dict[str, Path]:
    """Return {name: image} of a folder, pages of one file as images of their own.

    Raises:
        UserError: two of one name.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        for page in pages(file) if has_image_extension(file) else ():
            name = same(page.stem)
            if name in found:
                raise UserError(f"{page} and {found[name].name}: of one name; rename one of them")
            found[name] = page
    return found


def _fingerprint(job: StyleJob, config: Any) -> str:
    """Return a digest of everything that a result depends on."""
    digest = hashlib.sha256(dump_config(config).encode())
    masks = (job.content_mask, *job.style_masks)
    for file in filter(None, (job.content, *job.styles, *masks)):
        try:
            read, page = split_page(file)
            if read.is_fifo():
                raise UserError(f"{file}: no regular file (a pipe); remove it")
            digest.update(hashlib.sha256(read.read_bytes()).digest() + str(page or "").encode())
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()


def _saved(path: Path, made_by: str) -> Image.Image | None:
    """Read a picture, with its texts as `info`, if these options and images made it."""
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except (OSError, SyntaxError):
        return None
    return picture if picture.info.get("made_by") == made_by else None


class FolderProgress:
    """A bar on the terminal, and pictures in the output folder; see `core.stylizer.Progress`."""

    def __init__(self, folder: Path, job: StyleJob, made_by: str, showing: Showing) -> None:
        self._made_by, self._showing = made_by, showing
        self._unfinished = folder / "unfinished" / f"{job.name}.png"
        self._steps = folder / "steps" / job.name
        self._bar = tqdm(desc=job.name, unit="it", dynamic_ncols=True)

    def resumed(self) -> tuple[int, Image.Image] | None:
        """See `Progress`; pictures of later steps are removed."""
        found = _saved(self._unfinished, self._made_by) if self._showing.resume else None
        done = int(found.info["done"]) if found else 0
        for path in self._drawn():
            if int(path.stem) > done:
                path.unlink()
        self._bar.update(done)
        return (done, found) if found else None

    def _drawn(self) -> list[Path]:
        """List the pictures of steps; files of other names are not ours."""
        return sorted(path for path in self._steps.glob("*.png") if path.stem.isdecimal())

    def advance(self, done: int, total: int, look: Callable[[], Look]) -> None:
        """See `Progress`."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        every = self._showing.every
        drawn = every and (done % every == 0 or done == total)
        if not drawn and done % _TERMS_EVERY:
            return
        seen = look()
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in seen.terms.items()})
        if drawn:
            save_png(seen.picture, self._steps / f"{done:06d}.png")
            save_picture(
                picture_of(seen.state), self._unfinished, made_by=self._made_by, done=str(done)
            )

    def finish(self) -> None:
        """Close the bar, make the GIF, drop what was for resuming: the result is written."""
        self._bar.close()
        self._unfinished.unlink(missing_ok=True)
        frames = [open_image(path) for path in self._drawn()]
        if self._showing.gif and frames:
            size = frames[-1].size
            same = [frame.resize(size, Image.Resampling.BICUBIC) for frame in frames]
            path = self._steps.with_name(f"{self._steps.name}.gif")
            save_gif([*same, *same[-1:] * _GIF_HOLD], path, _GIF_MILLISECONDS)


def stylize_one(stylizer: Stylizer, job: StyleJob, config: Any, out: Path, show: Showing) -> Path:
    """Make one result and return its file.

    Raises:
        UserError: an unreadable image, or one that the method cannot use.
    """
    path = out / "images" / f"{job.name}.png"
    made_by = _fingerprint(job, config)
    if show.resume and _saved(path, made_by) is not None:
        return path
    content = open_image(job.content)
    progress = FolderProgress(out, job, made_by, show)
    try:
        result = stylizer.stylize(
            content,
            [open_image(style) for style in job.styles],
            content_mask=open_label_map(job.content_mask) if job.content_mask else None,
            style_masks=[open_label_map(mask) for mask in job.style_masks],
            progress=progress,
        )
    except UserError as error:
        raise UserError(f"{job.name}: {error}") from None
    save_picture(picture_of(with_alpha_of(content, result)), path, made_by=made_by)
    progress.finish()
    return path


def with_alpha_of(content: Image.Image, result: Image.Image) -> Image.Image:
    """Give a result the transparency of its content, where there is any."""
    if content.mode == "RGBA":
        alpha = content.getchannel("A").resize(result.size, Image.Resampling.BILINEAR)
        result.putalpha(alpha)
    return result


def stylize_all(
    stylizer: Stylizer, jobs: Sequence[StyleJob], config: Any, out: Path, show: Showing
) -> list[str]:
    """Make every result and the page `index.html`; return one line per image left out."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    failures, rows = [], []
    for job in jobs:
        try:
            stylize_one(stylizer, job, config, out, show)
        except UserError as error:
            failures.append(str(error))
            continue
        shown = {label: f"inputs/{job.name}_{label}.png" for label in ("content", "style")}
        for file, copy in zip((job.content, job.styles[0]), shown.values(), strict=True):
            save_png(thumbnail(open_image(file), 512), out / copy)
        rows.append((job.name, shown | {"result": f"images/{job.name}.png"}))
    if rows:
        write_test_gallery(out / "index.html", config.name, rows)
    return failures


def draw_grid(jobs: Sequence[StyleJob], out: Path) -> Path:
    """Draw `grid.png`: contents down, styles across, results where they meet; return the file.

    Contents and styles without any result are left out.
    """
    made = {(job.content, job.styles[0]): out / "images" / f"{job.name}.png" for job in jobs}
    made = {pair: path for pair, path in made.items() if path.is_file()}
    contents = dict.fromkeys(content for content, _ in made)
    styles = dict.fromkeys(style for _, style in made)
    rows = [[content, *(made.get((content, style)) for style in styles)] for content in contents]
    save_png(sheet([[None, *styles], *rows]), out / "grid.png")
    return out / "grid.png"
