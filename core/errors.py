"""The one exception that a person is meant to read."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input that the user can mend: a config key, a folder, an image, a checkpoint.

    The message is one line that names the file or key, the value, and the way out. The scripts
    print it without a stack trace and exit with code 2 (`core.runtime.cli`); every other exception
    is a bug of ours and keeps its trace.
    """
