"""Measure how long scripts take to answer, as ratios to the time of `python -c "import torch"`."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from core.errors import UserError

REFUSED: dict[str, list[str]] = {
    "train": ["--config", "missing.yaml"],
    "test": ["--checkpoint", "missing.pt", "--input", "missing.png", "--output", "missing"],
    "stylize": ["--config", "missing.yaml", "--content", "a", "--style", "b", "--output", "c"],
}
"""{script: arguments that name a missing file}: refused once all that the work needs is there."""
_TORCH = "import torch"


def measure(folder: Path, repeats: int) -> dict[str, Any]:
    """Time `--help` and a wrong option of every script in `folder`, and what some import for work.

    Each command is run `repeats` times, all in turn, so that a busy machine slows them alike. The
    medians are returned: `import_torch_seconds`, and `ratios` to it: {script: {"help", "usage
    error", "work"}}. A command with another exit code than expected is an error.
    """
    commands: dict[tuple[str, str], tuple[list[str], int]] = {(_TORCH, ""): (["-c", _TORCH], 0)}
    for file in sorted(folder.glob("*.py")):
        commands[file.stem, "help"] = [str(file), "--help"], 0
        commands[file.stem, "usage error"] = [str(file), "--no-such-option"], 2
        if file.stem in REFUSED:
            commands[file.stem, "work"] = [str(file), *REFUSED[file.stem]], 2
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in commands}
    for _ in range(repeats):
        for key, (arguments, code) in commands.items():
            seconds[key].append(run_time([sys.executable, *arguments], code))
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    torch = medians.pop((_TORCH, ""))
    ratios: dict[str, dict[str, float]] = {}
    for (script, what), median in medians.items():
        ratios.setdefault(script, {})[what] = median / torch
    return {"import_torch_seconds": torch, "ratios": ratios}


def run_time(command: list[str], code: int) -> float:
    """Return the seconds that a command takes; refuse another exit code than `code`."""
    # Compiled modules are kept, as they are for users: only the first repeat compiles them.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, check=False, text=True)
    seconds = time.perf_counter() - start
    if done.returncode != code:
        raise UserError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr[-500:]}")
    return seconds


def table(report: dict[str, Any]) -> str:
    """Lay the ratios of `measure` out, a row for each script."""
    lines = [f"import torch: {report['import_torch_seconds']:.2f} s; ratios to it:"]
    lines.append(f"{'':14}{'--help':>8}{'wrong option':>14}{'imports for work':>18}")
    for script, ratios in report["ratios"].items():
        work = f"{ratios['work']:.2f}" if "work" in ratios else ""
        lines.append(f"{script:14}{ratios['help']:8.2f}{ratios['usage error']:14.2f}{work:>18}")
    return "\n".join(lines)
