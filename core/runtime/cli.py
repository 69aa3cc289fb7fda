"""What every script does around its work: one-line errors, exit codes, process group."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from core.errors import UserError
from core.runtime import distributed


def run(work: Callable[[], int | None]) -> int:
    """Call `work` and turn what a user can mend into one line on stderr.

    Returns:
        `work`'s code (None is 0); 2 for bad input, a full disk or too little GPU memory; 130
        after Ctrl-C. Anything else is our bug and keeps its stack trace.
    """
    message, code = "", 2
    try:
        code = work() or 0
        distributed.barrier()  # nobody leaves while another still waits for it
    except UserError as error:
        message = str(error)
    except torch.cuda.OutOfMemoryError as error:
        message = f"out of GPU memory ({str(error).splitlines()[0]}); use a smaller batch or tile"
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        message = f"{error.filename or 'output'}: {error.strerror}"
    except KeyboardInterrupt:
        message, code = "interrupted", 130
    if message:
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
    distributed.leave(code)
    return code
