#!/usr/bin/env bash
# torchmetrics' visual_information_fidelity takes pictures in [0, 1] without a word and gives another
# number for them: the noise of the eye in its model is a variance of 2 in grey levels of 0 to 255,
# and there is no data_range. In [0, 1] that noise drowns the picture. The order of two damages even
# turns: noise looks better than blur in [0, 1], and worse in [0, 255], for the same pictures.
#
# The guess was: a ratio of informations does not depend on the unit of its pictures, or there is a
# data_range as in all its other measures of pairs (PSNR, SSIM, MS-SSIM).
#
# Why it matters: results of image-to-image models are float tensors in [0, 1] where one evaluates
# them, and every other measure of the package wants them so. piq's vif_p scales to 255 by its
# data_range; torchmetrics equals it for gray pictures only if given 0 to 255.
#
# Versions: torchmetrics 1.9.0, piq 0.8.0, torch 2.14.1, Python 3.11.
# Output seen on 2026-11-29:
#   blurred: torchmetrics 0.7613 in [0, 1], 0.5624 in [0, 255]; piq 0.5624
#   noisy: torchmetrics 0.9900 in [0, 1], 0.4725 in [0, 255]; piq 0.4725
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q "torch==2.14.1" torchvision "torchmetrics==1.9.0" "piq==0.8.0"
cat > show.py <<'PY'
import piq
import torch
import torch.nn.functional as F
from torchmetrics.functional.image import visual_information_fidelity

generator = torch.Generator().manual_seed(0)
coarse = torch.rand(1, 1, 16, 16, generator=generator, dtype=torch.float64)
x = F.interpolate(coarse, size=128, mode="bicubic").clamp(0, 1)
x = (x + 0.1 * torch.rand(x.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
damaged = {
    "blurred": F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), 5, 1),
    "noisy": (x + 0.05 * noise).clamp(0, 1),
}
found = {}
for name, y in damaged.items():
    unit = float(visual_information_fidelity(y, x))
    levels = float(visual_information_fidelity(255 * y, 255 * x))
    other = float(piq.vif_p(y, x, data_range=1.0))
    print(f"{name}: torchmetrics {unit:.4f} in [0, 1], {levels:.4f} in [0, 255]; piq {other:.4f}")
    found[name] = unit, levels, other
for unit, levels, other in found.values():
    if abs(levels - other) > 1e-3 or abs(unit - levels) < 0.05:
        raise SystemExit("changed: see the head of this file")
(blurred, *_), (noisy, *_) = found.values()
if not (blurred < noisy and found["blurred"][1] > found["noisy"][1]):
    raise SystemExit("changed: the order of the two no longer turns")
PY
venv/bin/python show.py
