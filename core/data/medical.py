"""Medical pictures: DICOM files, and slices of NIfTI volumes as pages (extras of these names).

DICOM: the modality's values after rescale (Hounsfield units in CT); black and white are the file's
window where it has one; MONOCHROME1 is turned round, so that more is brighter.
"""

from __future__ import annotations

MEDICAL = frozenset({".dcm", ".dicom", ".nii", ".gz"})
"""Suffixes of these files, in lower case; of `.gz` only `.nii.gz`."""
