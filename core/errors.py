"""The one exception that a person is meant to read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input that the user can mend: a config key, a folder, an image, a checkpoint.

    The message is one line that names the file or key, the value, and the way out. The scripts
    print it without a stack trace and exit with code 2 (`core.runtime.cli`); every other exception
    is a bug of ours and keeps its trace.
    """


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Say in one line that something made elsewhere does not hold what it should.

    For the borders at which foreign content is taken apart: what is missing or of another type or
    size shows there as any of these exceptions. A `UserError` passes.

    Args:
        what: file, or part of one, that is read within.

    Raises:
        UserError: in place of such an exception.
    """
    try:
        yield
    except UserError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        reason = (str(error).strip() or "?").splitlines()[0][:200]
        kind = type(error).__name__
        raise UserError(f"{what} does not hold what it should ({kind}: {reason})") from error
