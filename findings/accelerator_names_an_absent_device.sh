#!/usr/bin/env bash
# torch.accelerator.current_accelerator() names the accelerator that torch was BUILT for, not one
# that is there: on a machine without any GPU, PyPI's Linux wheel answers device("cuda"). The device
# exists only if torch.accelerator.is_available() says so too (or with check_available=True, which
# answers None).
#
# The guess was: None where there is no accelerator, so that
# `torch.accelerator.current_accelerator() or "cpu"` picks a device. It picks "cuda", and the first
# tensor sent there raises.
#
# Why it matters: it is the recommended replacement for `"cuda" if torch.cuda.is_available() ...`,
# and tests on a machine with a GPU, or with the CPU wheel, never see it.
#
# Versions: torch 2.14.1 from PyPI, Linux x86-64, Python 3.11, no GPU.
# Output seen on 2026-11-28:
#   available: False
#   current_accelerator(): cuda
#   current_accelerator(check_available=True): None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q "torch==2.14.1" numpy
cat > show.py <<'PY'
import torch

there = torch.accelerator.is_available()
named = torch.accelerator.current_accelerator()
checked = torch.accelerator.current_accelerator(check_available=True)
print("available:", there)
print("current_accelerator():", named)
print("current_accelerator(check_available=True):", checked)
if there:
    raise SystemExit("this machine has an accelerator: nothing is shown here")
if str(named) != "cuda" or checked is not None:
    raise SystemExit("changed: see the head of this file")
PY
venv/bin/python show.py
