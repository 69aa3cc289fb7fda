"""The published data sets and released generators of CycleGAN and pix2pix: fetch, check, unpack.

One university server has always given them out, and it never published digests: the one that is
found is reported, to be pinned by whoever trusts the copy at hand. Archives are unpacked in a
temporary folder beside their destination, refusing members that would land elsewhere, and take
their final name as a whole.
"""

from __future__ import annotations

import difflib
import gzip
import lzma
import re
import struct
import tarfile
import tempfile
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from stat import S_ISLNK
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from tqdm import tqdm

from core.errors import UserError
from core.runtime.transfer import fetch, require_digest

SERVER = "http://efrosgans.eecs.berkeley.edu"

SPLITS = {"train", "val", "test", "trainA", "trainB", "testA", "testB"}
"""Folders of a data set itself, as opposed to the one that an archive wraps around them."""

MAGIC = {".zip": (b"PK",), ".gz": (b"\x1f\x8b",), ".pth": (b"PK", b"\x80")}
"""First bytes by suffix; .pth is a zip file or, before PyTorch 1.6, a bare pickle."""


@dataclass(frozen=True)
class Published:
    """One file of the table.

    Attributes:
        family: "cyclegan" or "pix2pix", which both publish, say, a `facades`.
        name: data set, or generator with the suffix `_pretrained` of its official folder.
        path: on the server, and on mirrors laid out like it.
    """

    family: str
    name: str
    path: str

    @property
    def kind(self) -> Literal["data", "generator"]:
        """What it is."""
        return "generator" if self.path.endswith(".pth") else "data"

    @property
    def file_name(self) -> str:
        """Name of the file as it is downloaded."""
        return PurePosixPath(self.path).name

    @property
    def default_output(self) -> Path:
        """Folder that such things are kept in, relative to the project."""
        return Path("datasets" if self.kind == "data" else "checkpoints")

    def destination(self, output: Path) -> Path:
        """Return where it ends up below `output`: a data set's folder, a generator's file."""
        folder = output / self.name
        return folder if self.kind == "data" else folder / "latest_net_G.pth"


_NAMES = {
    "cyclegan/datasets/{}.zip": (
        "apple2orange summer2winter_yosemite horse2zebra monet2photo cezanne2photo ukiyoe2photo"
        " vangogh2photo maps facades iphone2dslr_flower ae_photos mini mini_pix2pix"
        " mini_colorization"
    ),
    "cyclegan/pretrained_models/{}.pth": (
        "apple2orange orange2apple summer2winter_yosemite winter2summer_yosemite horse2zebra"
        " zebra2horse monet2photo style_monet style_cezanne style_ukiyoe style_vangogh sat2map"
        " map2sat cityscapes_photo2label cityscapes_label2photo facades_photo2label"
        " facades_label2photo iphone2dslr_flower"
    ),
    "pix2pix/datasets/{}.tar.gz": "night2day edges2handbags edges2shoes facades maps",
    "pix2pix/models-pytorch/{}.pth": "edges2shoes sat2map map2sat facades_label2photo day2night",
}
CATALOGUE = tuple(
    Published(
        family=path.partition("/")[0],
        name=f"{stem}_pretrained" if path.endswith(".pth") else stem,
        path=path.format(stem),
    )
    for path, stems in _NAMES.items()
    for stem in stems.split()
)


class Download(NamedTuple):
    """What was put in place, with size and digest of the file as it was fetched."""

    path: Path
    num_bytes: int
    sha256: str


def find(name: str) -> Published:
    """Look a name up, plain (`horse2zebra`) or with its family (`pix2pix/facades`).

    Raises:
        UserError: no such name, or two families have one.
    """
    if name.rpartition("/")[2] == "cityscapes":
        raise UserError(
            "cityscapes: the data set is not given out any more; get the original from "
            "cityscapes-dataset.com and join its photos and labels side by side"
        )
    full_names = {f"{item.family}/{item.name}": item for item in CATALOGUE}
    found = [full for full, item in full_names.items() if name in (full, item.name)]
    if not found:
        names = [*full_names, *(item.name for item in CATALOGUE)]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UserError(f"{name}: nothing of this name is published; {hint}--list shows all names")
    if len(found) > 1:
        raise UserError(f"{name}: published by two families; say {' or '.join(found)}")
    return full_names[found[0]]


def address(item: Published, mirror: str) -> str:
    """Return the full address of a file on a mirror.

    A mirror is the address of a server laid out like the original, or of the very file, which then
    ends in the file's own name.

    Raises:
        UserError: not an address of a web server.
    """
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UserError(f"--mirror {mirror}: not a web address; give http://... or https://...")
    if not mirror.isascii() or re.search(r"\s", mirror):
        raise UserError(f"--mirror {mirror}: write spaces and accents as %20, %C3%A9, ...")
    if PurePosixPath(parts.path).name == item.file_name:
        return mirror
    return f"{mirror.rstrip('/')}/{item.path}"


def download(
    name: str,
    *,
    output: Path | None = None,
    mirror: str = SERVER,
    sha256: str | None = None,
    force: bool = False,
) -> Download:
    """Fetch a published data set or generator, check it, and put it where the scripts look for it.

    A file of the right name that lies in `output` already, put there by hand or by a run that could
    not unpack it, is used instead of the network. A downloaded archive is deleted once unpacked.

    For names see `find`, for mirrors `address`. `output` is the folder to put it in, by default
    `datasets` or `checkpoints`, `sha256` the digest that the file must have, if one is known;
    `force` replaces what is there.

    Raises:
        UserError: an argument is wrong, or the file cannot be had, is another one, or is unsafe.
    """
    item = find(name)
    url = address(item, mirror)
    expected = sha256.lower() if sha256 else ""
    if expected and not re.fullmatch("[0-9a-f]{64}", expected):
        raise UserError(f"--sha256 {sha256}: not a digest; it has 64 hexadecimal digits")
    output = output or item.default_output
    target = item.destination(output)
    if (target.exists() or target.is_symlink()) and not force:
        raise UserError(
            f"{target}: exists already; replace it with --force or choose another --output"
        )
    file = output / item.file_name
    by_hand = file.is_file()
    if not by_hand:
        advice = f"give another --mirror, or download it by hand to {file} and run this again"
        fetch(url, file, advice=advice)
    found = _check(file, expected, None if by_hand else url)
    num_bytes = file.stat().st_size
    _put_in_place(item, file, target)
    if item.kind == "data" and not by_hand:
        file.unlink()
    return Download(target, num_bytes, found)


def _put_in_place(item: Published, file: Path, target: Path) -> None:
    """Unpack a data set's archive to `target`, or move a generator's file there."""
    try:
        if item.kind == "data":
            unpack(file, target)
        else:
            target.parent.mkdir(exist_ok=True)
            file.replace(target)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be put in place ({error.strerror or error}); make room or choose "
            f"another folder with --output, the download is kept as {file}"
        ) from error


def _check(path: Path, sha256: str, url: str | None) -> str:
    """Return the digest of a file that is what it claims to be; delete another from an address."""
    source = url or path
    advice = "try another --mirror, or pass this digest with --sha256 if you trust the file"
    try:
        found = require_digest(path, sha256, source, advice)
        with path.open("rb") as file:
            start = file.read(4)
        if not start.startswith(MAGIC[path.suffix]):
            raise UserError(
                f"{source}: not a {path.suffix} file (it begins with {start!r}), perhaps a web "
                "page instead of the file; try another --mirror or download it by hand"
            )
    except UserError:
        if url:
            path.unlink()
        raise
    return found


def unpack(archive: Path, target: Path) -> None:
    """Unpack a .zip or .tar.gz so that `target` has the archive's content at its top.

    A single folder that the archive wraps around its content is left out. A `target` that exists is
    replaced when the new one is complete; the archive stays.

    Raises:
        UserError: the archive is damaged or has members that point outside.
        OSError: the disk is full or not writable.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=target.parent) as temporary:
            # One level down: the temporary folder itself is closed to other users.
            content = Path(temporary) / "content"
            content.mkdir()
            (_unzip if archive.suffix == ".zip" else _untar)(archive, content)
            root = _unwrapped(content)
            if not any(root.iterdir()):
                raise UserError(f"{archive}: an empty archive; get it from another --mirror")
            _swap_in(root, target, Path(temporary) / "replaced")
    except UserError:
        raise
    except (
        *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
        RuntimeError,  # zipfile's word for encryption and unknown compression
        *(struct.error, lzma.LZMAError, ValueError, LookupError),  # of malformed headers
    ) as error:
        raise UserError(
            f"{archive}: a damaged archive ({error}); delete it and download it again"
        ) from error


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:
            # zipfile would bend such names into the folder; an archive that has them is no data
            # set. The upper half of external_attr is the Unix mode.
            name = PureWindowsPath(member.filename)
            if name.anchor or ".." in name.parts or S_ISLNK(member.external_attr >> 16):
                raise UserError(
                    f"{archive}: unsafe member {member.filename!r} (a link, or a path out of the "
                    "folder); get the archive from another --mirror"
                )
        title = f"unpacking {archive.name}"
        file.extractall(folder, tqdm(members, title, unit="file", disable=None))


def _untar(archive: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise UserError(f"{archive}: unpacking it safely needs Python 3.11.4 or later")
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as file:
        members = tqdm(file, f"unpacking {archive.name}", unit="file", disable=None)
        try:
            file.extractall(folder, members, filter=_without_links)
        except tarfile.FilterError as error:
            raise UserError(
                f"{archive}: unsafe member ({error}); get the archive from another --mirror"
            ) from error
        # tarfile stops at its own end mark; gzip compares the checksum at the end of the stream.
        while stream.read(1 << 20):
            pass


def _without_links(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Refuse links of any kind, which Python's own filter allows as long as they stay inside."""
    if member.islnk() or member.issym():
        raise tarfile.SpecialFileError(member)
    return tarfile.data_filter(member, folder)


def _unwrapped(folder: Path) -> Path:
    """Return the folder with the data itself: archives wrap one of their own around it."""
    junk = {"__MACOSX", ".DS_Store"}
    entries = [entry for entry in folder.iterdir() if entry.name not in junk]
    if len(entries) > 1 or any(entry.name in SPLITS for entry in entries):
        return folder
    return next((entry for entry in entries if entry.is_dir() and not entry.is_symlink()), folder)


def _swap_in(new: Path, target: Path, old: Path) -> None:
    """Move `new` to `target`, and what was there to `old`; all or nothing."""
    with suppress(FileNotFoundError):
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        with suppress(FileNotFoundError):
            old.rename(target)
        raise
