#!/usr/bin/env bash
# torchmetrics' structural_similarity_index_measure reflects the picture beyond its border and
# averages over all windows, those that hang over the border included. Wang et al. (2004),
# scikit-image's Gaussian setting and pytorch-msssim average over whole windows only. With the same
# Gaussian window, sigma and data range the values therefore differ, the more the smaller the
# picture: in the fourth digit at 256 px, in the second at 32 px.
#
# The guess was: with gaussian_kernel=True, sigma=1.5 and data_range=1.0 it equals scikit-image's
# gaussian_weights=True to rounding, as its documentation's kernel and sigma suggest.
#
# Why it matters: SSIM to three or four digits is what tables of pix2pix and CycleGAN hold; a number
# from one package does not stand beside one of another. The interior of return_full_image=True,
# five pixels from each border, gives the published value.
#
# Versions: torchmetrics 1.9.0, scikit-image 0.26.0, pytorch-msssim 1.0.0, torch 2.14.1, Python 3.11.
# Output seen on 2026-11-28:
#   32 px: scikit-image 0.693082, pytorch-msssim 0.693082, torchmetrics 0.679735, its interior 0.693082
#   64 px: scikit-image 0.680844, pytorch-msssim 0.680844, torchmetrics 0.681754, its interior 0.680844
#   256 px: scikit-image 0.682456, pytorch-msssim 0.682456, torchmetrics 0.682755, its interior 0.682456
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q "torch==2.14.1" "torchmetrics==1.9.0" "scikit-image==0.26.0" "pytorch-msssim==1.0.0"
cat > show.py <<'PY'
import torch
from pytorch_msssim import ssim
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

generator = torch.Generator().manual_seed(0)
apart = {}
for side in (32, 64, 256):
    x = torch.rand(1, 3, side, side, generator=generator, dtype=torch.float64)
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    y = (x + 0.3 * noise).clamp(0, 1)
    other = structural_similarity(
        x[0].numpy(), y[0].numpy(), channel_axis=0, data_range=1.0,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )
    whole, places = structural_similarity_index_measure(
        x, y, data_range=1.0, return_full_image=True
    )
    inner = float(places[..., 5:-5, 5:-5].mean())
    third = float(ssim(x, y, data_range=1.0))
    print(
        f"{side} px: scikit-image {other:.6f}, pytorch-msssim {third:.6f}, "
        f"torchmetrics {float(whole):.6f}, its interior {inner:.6f}"
    )
    apart[side] = abs(float(whole) - other)
    if abs(inner - other) > 1e-6 or abs(third - other) > 1e-6:
        raise SystemExit("changed: the interior no longer equals scikit-image")
if not (apart[32] > 3e-4 and apart[256] > 1e-5):
    raise SystemExit("changed: see the head of this file")
PY
venv/bin/python show.py
