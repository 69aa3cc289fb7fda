"""Bytes by address: a path of this machine, or what fsspec knows (`s3://bucket/a.tar`, `https://`).

Protocols other than http need fsspec's package for them, such as s3fs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import UserError


def is_remote(address: str) -> bool:
    """Tell whether an address is fsspec's rather than a path."""
    return "://" in address


def joined(root: str, address: str) -> str:
    """Return an address as seen from a root; remote ones and absolute paths stay."""
    if is_remote(address):
        return address
    if is_remote(root):
        return f"{root.rstrip('/')}/{address}"
    return str(Path(root).expanduser() / address)


def exists(address: str) -> bool:
    """Tell whether there is such a file or folder.

    Raises:
        UserError: The storage cannot be reached.
    """
    if not is_remote(address):
        return Path(address).exists()
    with _refusing(address):
        system, path = _system(address)
        return bool(system.exists(path))


@contextlib.contextmanager
def opened(address: str) -> Iterator[BinaryIO]:
    """Open a file for reading, with seeks.

    Raises:
        UserError: It cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        with _refusing(address):
            if is_remote(address):
                system, path = _system(address)
                file = stack.enter_context(system.open(path, "rb"))
            else:
                file = stack.enter_context(Path(address).open("rb"))
        yield file


def fetch(address: str, start: int = 0, length: int | None = None) -> bytes:
    """Read a file, or a part of it.

    Raises:
        UserError: It cannot be read, or ends before the part does.
    """
    with _refusing(address):
        if is_remote(address):
            system, path = _system(address)
            content = system.cat_file(path, start, None if length is None else start + length)
        else:
            with Path(address).open("rb") as file:
                file.seek(start)
                content = file.read() if length is None else file.read(length)
    if length is not None and len(content) < length:
        raise UserError(f"{address}: ends too early; fetch it again")
    return content


def stamp(address: str) -> tuple[int, int]:
    """Return size and time of change, or another number that changes with the content.

    Raises:
        UserError: There is no such file.
    """
    with _refusing(address):
        if not is_remote(address):
            status = Path(address).stat()
            return status.st_size, status.st_mtime_ns
        system, path = _system(address)
        return _told(system.info(path))


def listed(folder: str) -> dict[str, tuple[int, int]]:
    """Return {name: stamp} of all files below a remote folder, hidden ones left out.

    Raises:
        UserError: It cannot be listed.
    """
    with _refusing(folder):
        system, path = _system(folder)
        found = system.find(path, detail=True)
    start = len(str(path).rstrip("/")) + 1
    marks = {name[start:]: _told(info) for name, info in found.items()}
    return {
        name: mark
        for name, mark in marks.items()
        if not any(part.startswith(".") for part in name.split("/"))
    }


def below(folder: str) -> Iterator[str]:
    """Give the names of all files below a remote folder, one folder's listing at a time.

    Hidden files and folders are left out.

    Raises:
        UserError: It cannot be listed.
    """
    with _refusing(folder):
        system, top = _system(folder)
        start = len(str(top).rstrip("/")) + 1
        if not system.exists(top):
            raise FileNotFoundError
        for parent, _, files in system.walk(top):
            inner = f"{parent.rstrip('/')}/"[start:]
            if not f"/{inner}".count("/."):
                yield from (inner + name for name in files if name[:1] not in ("", "."))


def put(address: str, content: bytes) -> None:
    """Write a remote file, whole or, in storage that has objects, not at all.

    Raises:
        UserError: It cannot be written.
    """
    with _refusing(address, "written"):
        system, path = _system(address)
        system.makedirs(path.rpartition("/")[0], exist_ok=True)  # nothing, in a bucket
        system.pipe_file(path, content)


def remove(address: str) -> None:
    """Remove a remote file.

    Raises:
        UserError: It cannot be removed.
    """
    with _refusing(address, "removed"):
        system, path = _system(address)
        system.rm_file(path)


def _told(info: dict[str, Any]) -> tuple[int, int]:
    marks = [str(info.get(key, "")) for key in ("ETag", "etag", "mtime", "LastModified", "created")]
    digest = hashlib.sha256("|".join(marks).encode()).digest()
    return int(info.get("size") or 0), int.from_bytes(digest[:7], "big")


def _system(address: str) -> tuple[Any, str]:
    import fsspec  # noqa: PLC0415  (few need it)

    return fsspec.core.url_to_fs(address)


@contextlib.contextmanager
def _refusing(address: str, what: str = "read") -> Iterator[None]:
    """Turn a failure of the storage, which may be any exception, into one line."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{address}: there is no such file") from None
    except IsADirectoryError:
        raise UserError(f"{address}: is a folder") from None
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{address}: cannot be {what} ({reason})") from error
