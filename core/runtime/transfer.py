"""Fetch and check one file over HTTP so that an interruption costs nothing but the wait.

What has arrived lies in `<file>.part`; `<file>.part.json` notes which version of which address it
is a piece of. A later attempt asks the server for the rest under the condition that the version is
still the same (RFC 9110, If-Range), and begins anew where the server cannot promise that.
"""

import errno
import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from core.errors import UserError

CHUNK_BYTES = 1 << 16
BUSY = {408, 425, 429, 500, 502, 503, 504}
"""Status codes after which the same request may succeed later."""
NUM_ATTEMPTS = 3
WAIT_SECONDS = 2.0
"""Before the second attempt; twice as long before the third."""
TIMEOUT_SECONDS = 30.0
"""Without a sign of the server, until an attempt is given up."""


def require_digest(path: Path, sha256: str, source: object, advice: str) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits, if it begins with `sha256`.

    Otherwise an error names the file `source` and ends with `advice`: what to do about another
    file.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        raise UserError(
            f"{source}: SHA-256 is {found} instead of {sha256}: damaged or another file; {advice}"
        )
    return found


class _InterruptedError(Exception):
    """The transfer stopped for a reason that another attempt may not meet."""


class _RefusedError(Exception):
    """The server will not give this file, however often it is asked."""


def fetch(url: str, path: Path, *, advice: str) -> None:
    """Download a file, going on with what an earlier call has left in `<path>.part`.

    The file takes its name only when complete, replacing what was there; missing folders are made.
    The error ends with `advice`: what the user can do where the server does not deliver.

    Raises:
        UserError: the server cannot be reached, refuses, or breaks off each time; the disk is full
            or not writable.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, NUM_ATTEMPTS + 1):
            try:
                _attempt(url, part)
                break
            except _InterruptedError as error:
                if attempt == NUM_ATTEMPTS:
                    raise UserError(
                        f"{url}: {error} ({attempt} attempts); try again later, {advice}"
                    ) from error
                pause = WAIT_SECONDS * attempt
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


def _attempt(url: str, part: Path) -> None:
    """Ask once for what is still missing, and append it to `part`."""
    offset, validator, num_bytes = _begun(url, part)
    if offset and offset == num_bytes:
        return
    headers = {"User-Agent": "image-translation", "Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    with _network(part):
        request = Request(url, headers=headers)
        response: HTTPResponse = urlopen(request, timeout=TIMEOUT_SECONDS)
    with response:
        if response.status == 206:
            piece = response.headers.get("Content-Range", "")
            match = re.fullmatch(rf"bytes {offset}-\d+/(\d+)", piece)
            if not (offset and match) or num_bytes not in (None, int(match[1])):
                _discard(part)
                raise _InterruptedError(f"the server sends another piece than asked for ({piece})")
            _receive(response, part, offset, int(match[1]))
        elif response.status == 200:
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            _discard(part)
            _note_version(response, url, part, total)
            _receive(response, part, 0, total)
        else:
            raise _RefusedError(f"the server answers {response.status} {response.reason}")


@contextmanager
def _network(part: Path) -> Iterator[None]:
    """Tell what the server or the way to it does wrong from errors of the disk."""
    try:
        yield
    except HTTPError as error:
        with error:
            answer = f"the server answers {error.code} {error.reason}"
        if error.code == 416:  # the part goes on beyond the end of the file
            _discard(part)
        elif error.code not in BUSY:
            raise _RefusedError(answer) from error
        raise _InterruptedError(answer) from error
    except (HTTPException, OSError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise _InterruptedError(str(reason) or type(error).__name__) from error


def _receive(response: HTTPResponse, part: Path, offset: int, total: int | None) -> None:
    """Append the answer to a part of `offset` bytes; `total` is the whole size, where known."""
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - offset > free:
        message = f"{total - offset} more bytes are to come and {free} are free on the disk"
        raise OSError(errno.ENOSPC, message)
    name = part.name.removesuffix(".part")
    with (
        part.open("ab") as file,
        tqdm(
            total=total, initial=offset, desc=name, unit="B", unit_scale=True, disable=None
        ) as progress,
    ):
        while True:
            with _network(part):
                chunk = response.read(CHUNK_BYTES)
            if not chunk:
                break
            file.write(chunk)
            progress.update(len(chunk))
        num_bytes = file.tell()
    if total is not None and num_bytes != total:
        raise _InterruptedError(f"the connection closed after {num_bytes} of {total} bytes")


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    # The notes go first: without them no later attempt builds upon the part.
    _notes(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def _begun(url: str, part: Path) -> tuple[int, str, int | None]:
    """Return the bytes that can be built upon, and validator and size of the file they are of."""
    try:
        notes = json.loads(_notes(part).read_text(encoding="utf-8"))
        if notes["url"] == url:
            return part.stat().st_size, notes["validator"], notes["num_bytes"]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        pass  # without readable notes the bytes could be anyone's
    return 0, "", None


def _note_version(response: HTTPResponse, url: str, part: Path, num_bytes: int | None) -> None:
    """Note what the bytes to come belong to: by a strong ETag, or else the Last-Modified date."""
    tag = response.headers.get("ETag", "")
    # A weak tag may stand for several byte sequences.
    validator = response.headers.get("Last-Modified") if tag.startswith("W/") or not tag else tag
    if validator:
        notes = {"url": url, "validator": validator, "num_bytes": num_bytes}
        _notes(part).write_text(json.dumps(notes), encoding="utf-8")
