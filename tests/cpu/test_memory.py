"""A CPU process keeps freed memory when asked to."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import resource
import torch
from core.cpu.accelerate import accelerate

accelerate([], winograd=False, keep_memory=True)

def add():
    return torch.ones(10_000_000) + 1  # two tensors of 40 MB

for _ in range(10):  # until alignment has found its places
    add()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    add()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is asked for it")
def test_freed_memory_is_used_again() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    # Fresh pages; without it twenty tensors have 10,000 each, all of which are new.
    assert int(ran.stdout) < 50_000
