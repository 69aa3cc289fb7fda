"""One small file of each kind of picture, and what networks are to see of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageCms

SIDE = 8
_RANDOM = np.random.default_rng(0)
RGB = _RANDOM.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
GRAY = RGB[..., 0]
ALPHA = np.where(np.indices((SIDE, SIDE)).sum(0) % 3 == 0, 0, 255).astype(np.uint8)
DEEP = _RANDOM.integers(0, 65536, (SIDE, SIDE, 3), dtype=np.uint16)
TWELVE = (DEEP >> 4).astype(np.uint16)
UNIT = _RANDOM.random((SIDE, SIDE), dtype=np.float32)


@dataclass(frozen=True)
class Kind:
    """A kind of picture file.

    Attributes:
        name: Of the file.
        write: Writes it.
        seen: uint8 [H, W, 3] in RGB over white; None: whatever it is, the same everywhere.
        refused: Part of the message, where it is refused.
        white: `data.white` of the run.
        item: Name of the picture, where it is a page of the file.
        package: What reads it, where that is an extra.
    """

    name: str
    write: Callable[[Path], Any]
    seen: np.ndarray | None = None
    refused: str = ""
    white: Any = None
    item: str = ""
    package: str = ""


def over_white(rgb: np.ndarray) -> np.ndarray:
    """`rgb` where `ALPHA` is opaque, white elsewhere."""
    return np.where(ALPHA[..., None] > 0, rgb, 255).astype(np.uint8)


def rounded(values: np.ndarray, white: float) -> np.ndarray:
    """Deep values in 8 bits, as RGB."""
    levels = np.floor(values / white * 255 + 0.5).astype(np.uint8)
    return gray_rgb(levels) if levels.ndim == 2 else levels


def gray_rgb(gray: np.ndarray) -> np.ndarray:
    """Gray repeated."""
    return np.repeat(gray[..., None], 3, axis=2)


def with_alpha(rgb: np.ndarray) -> Image.Image:
    """RGBA with colours hidden under alpha 0."""
    return Image.fromarray(np.dstack([rgb, ALPHA]))


def few_bits(bits: int) -> np.ndarray:
    """Gray of so many bits, as Pillow reads it."""
    top = 2**bits - 1
    return (GRAY >> (8 - bits)) * np.uint8(255 // top)


def save_few_bits(path: Path, bits: int) -> None:
    """PNG gray of 1, 2 or 4 bits, by hand."""
    import zlib

    values = GRAY >> (8 - bits)
    binary = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :].reshape(SIDE, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(binary, axis=1))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, bits, 0, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    made = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + made)


def save_12_bits(path: Path) -> None:
    """TIFF gray of 12 bits, two values in three bytes."""
    left, right = TWELVE[..., 0].reshape(-1, 2).astype(int).T
    packed = np.stack([left >> 4, (left & 15) << 4 | right >> 8, right & 255], 1)
    data = packed.astype(np.uint8).tobytes()
    entries = [(256, 4, SIDE), (257, 4, SIDE), (258, 3, 12), (259, 3, 1), (262, 3, 1)]
    entries += [(273, 4, 8 + 2 + 9 * 12 + 4), (277, 3, 1), (278, 4, SIDE), (279, 4, len(data))]
    table = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in entries
    )
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + b"\0" * 4 + data)


def swapped_profile() -> bytes:
    """sRGB with its red and blue primaries exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def _palette(path: Path, **options: Any) -> None:
    image = Image.fromarray(GRAY % 4).convert("P")
    image.putdata((GRAY % 4).flatten().tolist())
    image.putpalette([9, 8, 7, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.save(path, **options)


_COLOURS = np.array([[9, 8, 7], [200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)[GRAY % 4]
_FEW = {
    f"gray{bits}.png": Kind(
        f"gray{bits}.png", lambda p, b=bits: save_few_bits(p, b), gray_rgb(few_bits(bits))
    )
    for bits in (1, 2, 4)
}


def _exif(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(path, exif=exif)


def _pil(array: np.ndarray, **options: Any) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(array).save(path, **options)


def _tif(array: np.ndarray, **options: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, array, **options)


def _png16(array: np.ndarray) -> Callable[[Path], None]:
    from core.data.picture import SIXTEEN_BITS, Picture
    from core.report.results import save_picture

    unit = SIXTEEN_BITS.unit(array)
    return lambda path: save_picture(Picture(unit, None, SIXTEEN_BITS), path)


def _frames(path: Path) -> None:
    first, second = (Image.fromarray(GRAY // 128 * 255), Image.fromarray(GRAY // 64 * 80))
    first.save(path, save_all=True, append_images=[second])


HOUNSFIELD = (TWELVE[..., 0].astype(np.int32) - 1024).astype(np.int16)


def _dicom(values: np.ndarray, kind: str = "MONOCHROME2", **tags: Any) -> Callable[[Path], None]:
    """A DICOM file of 16-bit values, perhaps signed, or of 8-bit colours."""

    def write(path: Path) -> None:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid

        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = Dataset()
        data.file_meta, bits = meta, values.itemsize * 8
        data.Rows, data.Columns = values.shape[-3:-1] if kind == "RGB" else values.shape[-2:]
        data.PhotometricInterpretation = kind
        data.SamplesPerPixel = 3 if kind == "RGB" else 1
        data.PlanarConfiguration = 0
        data.BitsAllocated = data.BitsStored = bits
        data.HighBit = bits - 1
        data.PixelRepresentation = int(values.dtype.kind == "i")
        for name, value in tags.items():
            setattr(data, name, value)
        data.PixelData = values.tobytes()
        data.save_as(path, enforce_file_format=True)

    return write


def _nifti(values: np.ndarray, codes: str) -> Callable[[Path], None]:
    """A NIfTI file of an array [X, Y, ...] whose first axes run in these directions."""

    def write(path: Path) -> None:
        import nibabel

        signs = [1 if code in "RAS" else -1 for code in codes]
        nibabel.save(nibabel.Nifti1Image(values, np.diag([*signs, 1])), path)

    return write


def _column_first(picture: np.ndarray) -> np.ndarray:
    """A picture as NIfTI stores it: [X, Y] from left and back."""
    return picture[::-1].T


KINDS = [
    *_FEW.values(),
    Kind("gray8.png", _pil(GRAY), gray_rgb(GRAY)),
    Kind("gray16.png", _pil(DEEP[..., 0]), rounded(DEEP[..., 0], 65535)),
    Kind("gray16.tif", _tif(DEEP[..., 0]), rounded(DEEP[..., 0], 65535)),
    Kind("colour16.png", _png16(DEEP), rounded(DEEP, 65535)),
    Kind("colour16.tif", _tif(DEEP, photometric="rgb"), rounded(DEEP, 65535)),
    Kind("planar16.tif", _tif(np.moveaxis(DEEP, 2, 0), photometric="rgb", planarconfig="separate"),
         rounded(DEEP, 65535)),
    Kind("gray12.tif", save_12_bits, rounded(TWELVE[..., 0], 4095)),
    Kind("ten.png", _pil(TWELVE[..., 0] >> 2), rounded(TWELVE[..., 0] >> 2, 1023), white=1023),
    Kind("fourteen.tif", _tif(DEEP[..., 0] >> 2), rounded(DEEP[..., 0] >> 2, 16383), white=16383),
    Kind("white_is_zero8.tif", _tif(GRAY, photometric="miniswhite"), gray_rgb(255 - GRAY)),
    Kind("white_is_zero16.tif", _tif(DEEP[..., 0], photometric="miniswhite"),
         rounded(65535 - DEEP[..., 0], 65535)),
    Kind("signed.tif", _tif(DEEP[..., 0].astype(np.int32).__sub__(32768).astype(np.int16)),
         rounded(DEEP[..., 0], 65535), white=[[-32768, 32767]]),
    Kind("float.tif", _tif(UNIT), rounded(UNIT, 1), white=1),
    Kind("double.tif", _tif(UNIT.astype(np.float64)), rounded(UNIT, 1), white=1),
    Kind("no_white.tif", _tif(UNIT), refused="no agreed black and white"),
    Kind("nan.tif", _tif(np.full((SIDE, SIDE), np.nan, np.float32)), refused="not finite", white=1),
    Kind("rgb.jpg", _pil(RGB)),
    Kind("rgb.webp", _pil(RGB, lossless=True), RGB),
    Kind("rgb.tga", _pil(RGB), RGB),
    Kind("rgb.jp2", _pil(RGB, irreversible=False), RGB),
    Kind("rgba.png", lambda p: with_alpha(RGB).save(p), over_white(RGB)),
    Kind("rgba16.tif", _tif(np.dstack([DEEP, ALPHA.astype(np.uint16) * 257]), photometric="rgb",
         extrasamples=["unassalpha"]), over_white(rounded(DEEP, 65535))),
    Kind("la.png", lambda p: with_alpha(gray_rgb(GRAY)).convert("LA").save(p),
         over_white(gray_rgb(GRAY))),
    Kind("palette.png", _palette, _COLOURS),
    Kind("palette.bmp", _palette, _COLOURS),
    Kind("transparent_palette.png", lambda p: _palette(p, transparency=1),
         np.where((GRAY % 4 == 1)[..., None], 255, _COLOURS).astype(np.uint8)),
    Kind("cmyk.tif", lambda p: Image.fromarray(RGB).convert("CMYK").save(p), RGB),
    Kind("lab.tif", lambda p: Image.merge("LAB", [Image.fromarray(GRAY)] * 3).save(p)),
    Kind("exif.png", _exif, np.rot90(RGB, -1)),
    Kind("icc.png", _pil(RGB, icc_profile=swapped_profile())),
    Kind("pages.tif", _tif(np.stack([RGB, 255 - RGB]), photometric="rgb"), 255 - RGB,
         item="pages_p0002.tif"),
    Kind("animated.gif", _frames, item="animated_p0002.gif"),
    Kind("first_frame.webp", lambda p: Image.fromarray(RGB).save(p, save_all=True, lossless=True,
         append_images=[Image.fromarray(255 - RGB)]), RGB),
    Kind("bands.tif", _tif(np.repeat(GRAY[..., None], 5, 2), photometric="minisblack",
         planarconfig="contig"), refused="5 channels"),
    Kind("array.npy", lambda p: np.save(p, RGB), RGB),
    Kind("deep.npy", lambda p: np.save(p, DEEP), rounded(DEEP, 65535)),
    Kind("vector.npy", lambda p: np.save(p, UNIT[0]), refused=r"a picture is \[H, W\]"),
    Kind("ct.dcm", _dicom(TWELVE[..., 0].astype(np.int16), BitsStored=13, HighBit=12,
         RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40.5, WindowWidth=401),
         rounded(np.clip(HOUNSFIELD + 160.0, 0, 400), 400), package="pydicom"),
    Kind("plain.dcm", _dicom(TWELVE[..., 0], BitsStored=12, HighBit=11),
         rounded(TWELVE[..., 0], 4095), package="pydicom"),
    Kind("inverted.dcm", _dicom(TWELVE[..., 0], "MONOCHROME1", BitsStored=12, HighBit=11),
         rounded(4095 - TWELVE[..., 0], 4095), package="pydicom"),
    Kind("hounsfield.dcm", _dicom(TWELVE[..., 0], RescaleSlope=1, RescaleIntercept=-1024),
         rounded(HOUNSFIELD.astype(float) + 1024, 4095), white=[[-1024, 3071]], package="pydicom"),
    Kind("no_window.dcm", _dicom(HOUNSFIELD), refused="no agreed black", package="pydicom"),
    Kind("colour.dcm", _dicom(RGB, "RGB"), RGB, package="pydicom"),
    Kind("frames.dcm", _dicom(np.stack([DEEP[..., 0], DEEP[..., 1]]), NumberOfFrames=2),
         rounded(DEEP[..., 1], 65535), item="frames_p0002.dcm", package="pydicom"),
    Kind("broken.dcm", lambda p: p.write_bytes(b"DICM" * 40), refused="broken.dcm: damaged",
         package="pydicom"),
    Kind("volume.nii.gz", _nifti(np.stack([_column_first(UNIT), _column_first(UNIT[::-1])], 2),
         "RAS"), rounded(UNIT[::-1], 1), white=1, item="volume_p0002.nii.gz", package="nibabel"),
    Kind("flat.nii", _nifti(_column_first(GRAY)[::-1], "LAS"), gray_rgb(GRAY), package="nibabel"),
    Kind("postscript.jpg", lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"),
         refused="not an image"),
]  # fmt: skip
