"""Find the trained weights behind FID, KID and LPIPS, and fetch them.

Nothing is fetched unless `fetch_missing` is called: what is not there is named instead.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch

from core.data.listing import expanded
from core.errors import UserError
from core.runtime.transfer import fetch, require_digest


@dataclass(frozen=True)
class Published:
    """A published file.

    `sha256` is its digest, or the digits that its authors have put into the file's name; `size` is
    for messages.
    """

    url: str
    sha256: str
    size: str

    @property
    def name(self) -> str:
        """Name of the file in the folder of weights."""
        return self.url.rpartition("/")[2]


INCEPTION = Published(
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    "6726825d",
    "91 MB",
)
"""The TensorFlow Inception v3 that FID and KID are defined by, as torch-fidelity converted it."""
VGG16 = Published(
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "397923af",
    "528 MB",
)
"""torchvision's VGG-16, whose last hidden layer precision and recall were defined in."""
ALEXNET = Published(
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "7be5be79", "233 MB"
)
"""torchvision's AlexNet, the trunk of LPIPS."""
LPIPS_ALEXNET = Published(
    "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/alex.pth",
    "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "6 kB",
)
"""The learnt weights of LPIPS on top, version 0.1; the package `lpips` brings them along."""


class MissingError(UserError):
    """A metric cannot be computed, and the message says what to do about it."""


def default_folder() -> Path:
    """Return where torch.hub, and with it torchvision and torch-fidelity, keep such files."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def locate(item: Published, folder: Path | None) -> Path:
    """Return the file in `folder` (None: `default_folder()`), checked.

    Raises:
        MissingError: not there; says where it should be and whence.
        UserError: another file of that name.
    """
    path = (folder or default_folder()) / item.name
    if not path.is_file() and item is LPIPS_ALEXNET:
        path = _packaged() or path
    if not path.is_file():
        raise MissingError(
            f"{path} is not there; fetch it with --download, or put {item.url} there by hand"
        )
    _check(path, item)
    return path


def fetch_missing(folder: str | Path | None = None) -> list[Path]:
    """Fetch what is not there, with a progress bar; return the new files.

    Raises:
        UserError: the server cannot be reached, or sends another file.
    """
    folder = expanded(folder) if folder else default_folder()
    fetched = []
    for item in (INCEPTION, ALEXNET, LPIPS_ALEXNET):
        try:
            locate(item, folder)
        except MissingError:
            path = folder / item.name
            print(f"fetching {item.url} ({item.size}) to {path}")
            fetch(item.url, path, advice=f"or download it elsewhere and put it to {path}")
            try:
                _check(path, item)
            except UserError:
                path.unlink()
                raise
            fetched.append(path)
    return fetched


def _packaged() -> Path | None:
    spec = importlib.util.find_spec("lpips")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "weights" / "v0.1" / LPIPS_ALEXNET.name


def _check(path: Path, item: Published) -> None:
    require_digest(path, item.sha256, path, f"remove it and get {item.url} again")
