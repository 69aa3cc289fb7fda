"""Command lines: the options that scripts share, and what each script does around its work.

A script is `main = partial(cli.main, __doc__, options, work)`. Nothing here imports torch, and
`work` imports what it needs after its checks, so that `--help` and a mistake are answered at once.
"""

import argparse
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType
from typing import Any

from core.errors import UserError

Parser = argparse.ArgumentParser
Args = argparse.Namespace

OPTIONS: dict[str, dict[str, Any]] = {
    "--checkpoint": {"type": Path, "required": True, "help": "file, run folder or hf://owner/name"},
    "--device": {"default": "auto", "help": "auto, cpu, cuda or cuda:N"},
    "--direction": {"choices": ["AtoB", "BtoA"]},
    "--download": {"action": "store_true", "help": "fetch missing weights of FID, KID and LPIPS"},
    "--eval": {
        "action": "store_const",
        "dest": "test_mode",
        "const": "eval",
        "default": "published",
        "help": "pix2pix: no dropout, running batch norm statistics",
    },
    "--max-images": {"type": int, "metavar": "N", "help": "per domain; default: all"},
    "--max-pixels": {
        "type": int,
        "metavar": "N",
        "help": "refuse larger pictures; default: 179 million",
    },
    "--output": {"type": Path, "required": True, "help": "folder"},
    "--precision": {"choices": ["fp32", "bf16"], "default": "fp32"},
    "--preprocess": {
        "choices": ["none", "official"],
        "help": "official: resize to the training crop_size, as the published test does",
    },
    "--resume": {"action": "store_true", "help": "go on with what --output holds"},
    "--run-dir": {"type": Path, "help": "default: runs/<name>"},
    "--seed": {"type": int, "default": 0},
    "--set": {
        "action": "append",
        "default": [],
        "metavar": "KEY=VALUE",
        "help": "change an option of the config, e.g. train.batch_size=4; may be repeated",
    },
    "--speed": {
        "choices": ["auto", "off"],
        "default": "auto",
        "help": "auto: what is fastest here at the same results to rounding; off: plain networks",
    },
    "--which": {
        "default": "last",
        "help": "of a run folder: last, best (by checkpoint.best), a step, or epoch:N",
    },
    "--text": {"action": "append", "default": [], "help": "caption; may be repeated"},
}
"""Options with the same meaning in several scripts, as `add_argument` takes them."""


def add(parser: Parser | argparse._ArgumentGroup, *names: str, **changes: Any) -> None:
    """Add shared options to a parser, with some of their settings changed."""
    for name in names:
        parser.add_argument(name, **(OPTIONS[name] | changes))


def place(text: str) -> Path | str:
    """Return a path, or, of what has a protocol, the address as it is: a type of options."""
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return text if "://" in text else Path(text)


def chosen(args: Args, *names: str) -> dict[str, Any]:
    """Return {name: value} of some options, for functions that call them the same."""
    return {name: getattr(args, name) for name in names}


def require_at_least(args: Args, **least: int) -> None:
    """Refuse numbers below the given least ones; an option that was left out (None) passes."""
    for name, number in least.items():
        value = getattr(args, name)
        if value is not None and value < number:
            raise UserError(f"--{name.replace('_', '-')} {value}: at least {number}")


def main(
    doc: str | None,
    options: Callable[[Parser], None],
    work: Callable[[Args], int | None],
    argv: list[str] | None = None,
) -> int:
    """Read the command line, do the work, and say what a user can mend in one line on stderr.

    Args:
        doc: the script's docstring; `--help` shows its first line.
        options: adds the script's options.
        work: checks them, does what they ask for, and returns an exit code (None is 0).
        argv: the command line without the script's name; None takes the process's own.

    Returns:
        `work`'s code; 2 for bad input, a full disk or too little GPU memory; 130 after Ctrl-C.
            Anything else is our bug and keeps its stack trace.
    """
    # Threads that wait by spinning slow a busy machine tenfold; OpenMP reads it when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a file's name may be no text: escape, don't stop
            stream.reconfigure(errors="backslashreplace")
    parser = Parser(description=(doc or "").splitlines()[0])
    options(parser)
    args = parser.parse_args(argv)
    return attend(work, args)


def attend(work: Callable[[Args], int | None], args: Args) -> int:
    """Do the work, and say what a user can mend; returns as `main`."""
    message, code = "", 2
    try:
        code = work(args) or 0
        if processes := _processes():
            processes.barrier()  # nobody leaves while another still waits for it
    except UserError as error:
        message = str(error)
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        message = f"{error.filename or 'output'}: {error.strerror}"
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which may not be imported here
            raise
        message = f"out of GPU memory ({str(error).splitlines()[0]}); use a smaller batch or tile"
    except KeyboardInterrupt:
        message, code = "interrupted", 130
    if message:
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
    if processes := _processes():
        processes.leave(code)
    return code


def _processes() -> ModuleType | None:
    """Return `core.runtime.distributed` if the work has imported it: else this process is alone."""
    return sys.modules.get("core.runtime.distributed")
