"""Files that others read while they are written."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from core.errors import UserError


def write_file(
    path: Path, write: Callable[[BinaryIO], object], scratch: Path | None = None
) -> None:
    """Write a file so that its readers see the old content or the new, never half of it.

    The content, which `write` puts into the open binary file it is given, goes to a temporary file
    beside `path`, which then takes its name. Missing folders are made. It is not forced to the disk
    (no fsync): a picture is not worth the wait, and after a power failure it can be drawn again.

    Args:
        path: the file.
        write: writes its content.
        scratch: an existing folder, on the same file system, for the temporary file; by default
            that of `path`. A process that is killed leaves it there.

    Raises:
        UserError: the folder is not writable, the disk is full, or the like.
    """
    temporary = (scratch or path.parent) / f".{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                write(file)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "free some space or choose a folder you may write to"
        ) from error
