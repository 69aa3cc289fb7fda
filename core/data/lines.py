"""Text files that list something, a line each."""

from __future__ import annotations

from pathlib import Path

from core.errors import UserError


def read_lines(path: Path, source: object) -> list[tuple[int, str]]:
    """Read the lines of a UTF-8 file, numbered from 1, stripped, without blank ones.

    Args:
        path: the file.
        source: what errors call it.

    Raises:
        UserError: the file is missing, cannot be read, or is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{source}: there is no such file") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{source}: not a UTF-8 text file; save it as UTF-8") from None
    lines = enumerate(text.splitlines(), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]
