#!/usr/bin/env bash
# A forward under torch's FakeTensorMode inside an autocast block leaves weights without memory in
# autocast's cache of cast weights. The next real forward in the same block takes them from there:
# its input and its weights are real, and its result is a FakeTensor, without an error or a warning.
# What goes wrong is said much later, where somebody reads a number. torch.clear_autocast_cache()
# after the fake forward mends it.
#
# The guess was: what is made under a fake mode ends with it, and a real layer on a real input gives
# a real result.
#
# Why it matters: one asks how much memory a network needs, with a forward on tensors without memory
# (whether a picture fits, or has to go through in tiles), at the place where it is then run: inside
# torch.autocast, in bf16.
#
# Versions: torch 2.14.1, Python 3.11.
# Output seen on 2026-11-29:
#   a real forward after a fake one gives a FakeTensor: True
#   with the cache cleared between them: False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q "torch==2.14.1"
cat > show.py <<'PY'
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

layer = nn.Conv2d(3, 3, 3)
image = torch.rand(1, 3, 8, 8)


def real_after_fake(clear):
    with torch.autocast("cpu", torch.bfloat16):
        with FakeTensorMode(allow_non_fake_inputs=True):
            layer(torch.empty(1, 3, 8, 8))
        if clear:
            torch.clear_autocast_cache()
        return layer(image)


found = {clear: isinstance(real_after_fake(clear), FakeTensor) for clear in (False, True)}
print(f"a real forward after a fake one gives a FakeTensor: {found[False]}")
print(f"with the cache cleared between them: {found[True]}")
if found != {False: True, True: False}:
    raise SystemExit("changed: see the head of this file")
PY
venv/bin/python show.py
