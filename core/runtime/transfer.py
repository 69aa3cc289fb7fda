"""Fetch and check one file over HTTP so that an interruption costs nothing but the wait.

What has arrived lies in `<file>.part`; `<file>.part.json` notes which version of which address it
is a piece of. A later attempt asks the server for the rest under the condition that the version is
still the same (RFC 9110, If-Range), and begins anew where the server cannot promise that.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from core.errors import UserError

CHUNK_BYTES = 1 << 16
BUSY = {408, 425, 429, 500, 502, 503, 504}
"""Status codes after which the same request may succeed later."""


def digest(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_digest(path: Path, sha256: str, source: object, advice: str) -> str:
    """Return the SHA-256 of a file that is the expected one.

    Args:
        path: the file.
        sha256: its digest, or the first digits of it as far as they are known.
        source: the file's name in the error.
        advice: what the user can do about another file; ends the error line.

    Raises:
        UserError: the file has another digest.
    """
    found = digest(path)
    if not found.startswith(sha256):
        raise UserError(
            f"{source}: SHA-256 is {found} instead of {sha256}: damaged or another file; {advice}"
        )
    return found


class _InterruptedError(Exception):
    """The transfer stopped for a reason that another attempt may not meet."""


class _StalePartError(_InterruptedError):
    """What lies in the partial file is no piece of what the server has now."""


class _RefusedError(Exception):
    """The server will not give this file, however often it is asked."""


@dataclass(frozen=True)
class _Version:
    """What the bytes in a partial file are the beginning of."""

    url: str
    validator: str
    """Strong ETag, or else the Last-Modified date."""
    num_bytes: int | None
    """Size of the whole file."""


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _begun(url: str, part: Path) -> tuple[int, _Version | None]:
    """Number of bytes that can be built upon, and the version they belong to."""
    try:
        version = _Version(**json.loads(_notes(part).read_text(encoding="utf-8")))
        num_bytes = part.stat().st_size
    except (FileNotFoundError, ValueError, TypeError):
        # Without readable notes the bytes could be anyone's.
        return 0, None
    return (num_bytes, version) if version.url == url and num_bytes else (0, None)


def _open(url: str, offset: int, version: _Version | None, timeout: float) -> HTTPResponse:
    headers = {"User-Agent": "image-translation", "Accept-Encoding": "identity"}
    if version:
        headers |= {"Range": f"bytes={offset}-", "If-Range": version.validator}
    try:
        response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        with error:
            answer = f"the server answers {error.code} {error.reason}"
        if error.code == 416:
            raise _StalePartError(answer) from error
        raise (_InterruptedError if error.code in BUSY else _RefusedError)(answer) from error
    except URLError as error:
        raise _InterruptedError(str(error.reason)) from error
    except (HTTPException, OSError) as error:
        raise _InterruptedError(str(error) or type(error).__name__) from error
    return response


def _total(response: HTTPResponse, offset: int, version: _Version | None) -> int | None:
    """Size of the whole file if the server tells; checks that a partial answer fits."""
    if response.status == 206:
        piece = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", piece)
        known = version.num_bytes if version else None
        if not match or int(match[1]) != offset or known not in (None, int(match[2])):
            raise _StalePartError(f"the server sends another piece than asked for ({piece})")
        return int(match[2])
    if response.status != 200:
        raise _RefusedError(f"the server answers {response.status} {response.reason}")
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _note_version(response: HTTPResponse, url: str, part: Path, num_bytes: int | None) -> None:
    tag = response.headers.get("ETag", "")
    # A weak tag may stand for several byte sequences.
    validator = response.headers.get("Last-Modified") if tag.startswith("W/") or not tag else tag
    if validator:
        version = _Version(url, validator, num_bytes)
        _notes(part).write_text(json.dumps(asdict(version)), encoding="utf-8")


def _receive(response: HTTPResponse, url: str, part: Path, offset: int, total: int | None) -> None:
    with part.open("ab" if offset else "wb") as file:
        if not offset:
            # Only now, when the old piece is gone, may the notes speak of the new version.
            _notes(part).unlink(missing_ok=True)
            _note_version(response, url, part, total)
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - offset > free:
            raise UserError(
                f"{part}: {total - offset} more bytes are to come and {free} are free on the disk; "
                "make room or choose another folder with --output"
            )
        name = part.name.removesuffix(".part")
        with tqdm(
            total=total, initial=offset, desc=name, unit="B", unit_scale=True, disable=None
        ) as progress:
            while True:
                try:
                    chunk = response.read(CHUNK_BYTES)
                except (HTTPException, OSError) as error:
                    raise _InterruptedError(str(error) or type(error).__name__) from error
                if not chunk:
                    break
                file.write(chunk)
                progress.update(len(chunk))
        num_bytes = file.tell()
    if total is not None and num_bytes != total:
        raise _InterruptedError(f"the connection closed after {num_bytes} of {total} bytes")


def _attempt(url: str, part: Path, timeout: float) -> None:
    offset, version = _begun(url, part)
    if version and version.num_bytes == offset:
        return
    try:
        with _open(url, offset, version, timeout) as response:
            total = _total(response, offset, version)
            _receive(response, url, part, offset if response.status == 206 else 0, total)
    except _StalePartError:
        _discard(part)
        raise


def fetch(
    url: str,
    path: Path,
    *,
    advice: str,
    timeout: float = 30.0,
    num_retries: int = 2,
    wait: float = 2.0,
) -> None:
    """Download `url` to `path`, going on with what an earlier call has left in `<path>.part`.

    Args:
        url: address, http or https.
        path: the file; takes its name only when complete, replacing what was there. Missing
            folders are made.
        advice: what the user can do where the server does not deliver; ends the error line.
        timeout: seconds without a sign of the server until an attempt is given up.
        num_retries: further attempts after an interruption.
        wait: seconds before the first further attempt; twice as many before the second.

    Raises:
        UserError: the server cannot be reached, refuses, or breaks off each time; the disk is full
            or not writable.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(num_retries + 1):
            try:
                _attempt(url, part, timeout)
                break
            except _InterruptedError as error:
                if attempt == num_retries:
                    raise UserError(
                        f"{url}: {error} ({attempt + 1} attempts); try again later, {advice}"
                    ) from error
                pause = wait * (attempt + 1)
                tqdm.write(f"{url}: {error}; again in {pause:g} s", file=sys.stderr)
                time.sleep(pause)
        part.replace(path)
        _notes(part).unlink(missing_ok=True)
    except _RefusedError as error:
        raise UserError(f"{url}: {error}; {advice}") from error
    except OSError as error:
        raise UserError(
            f"{part}: cannot be written ({error.strerror or error}); "
            "make room or choose another folder with --output"
        ) from error
