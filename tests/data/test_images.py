from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data.images import (
    describe_image,
    has_image_extension,
    open_image,
    read_image,
    read_picture,
)
from core.errors import UserError
from tests.data.image_files import write_image


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def gradient(mode: str) -> Image.Image:
    values = np.arange(12 * 8, dtype=np.uint8).reshape(8, 12) * 2
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("mode", "extension"),
    [
        ("1", "png"),
        ("L", "png"),
        ("LA", "png"),
        ("P", "png"),
        ("RGB", "jpg"),
        ("RGBA", "png"),
        ("CMYK", "tif"),
        ("CMYK", "jpg"),
        ("YCbCr", "tif"),
        ("RGB", "webp"),
        ("RGB", "ppm"),
        ("RGB", "bmp"),
    ],
)
def test_every_common_mode_gives_the_channels_asked_for(
    tmp_path: Path, mode: str, extension: str, channels: int
) -> None:
    path = save(tmp_path / f"x.{extension}", gradient(mode))
    image = read_image(path, channels)
    assert image.shape == (8, 12, channels)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous and image.flags.writeable
    if channels == 4 and mode not in {"LA", "RGBA"}:
        assert (image[..., 3] == 255).all()


@pytest.mark.parametrize("extension", ["png", "tif", "pgm"])
def test_16_bit_gray_is_scaled_not_clipped(tmp_path: Path, extension: str) -> None:
    values = np.array([[0, 128, 129, 257 * 7, 40000, 65535]], dtype=np.uint16)
    path = save(tmp_path / f"x.{extension}", Image.fromarray(values))
    assert read_image(path, 1)[0, :, 0].tolist() == [0, 0, 1, 7, 156, 255]
    assert (read_image(path, 3)[0, -1] == 255).all()


@pytest.mark.parametrize(("dtype", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_32_bit_pixels_need_a_white(tmp_path: Path, dtype: type, mode: str) -> None:
    path = save(tmp_path / "x.tif", Image.fromarray(np.full((4, 4), 3, dtype=dtype)))
    with pytest.raises(UserError, match=rf"x\.tif: {mode} pixels have no agreed.*data\.white"):
        read_image(path, 3)
    assert (read_picture(path, (1, 5)).pixels == 0.5).all()


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 0] = 200
    pixels[0, :, 3] = [0, 255, 128]
    path = save(tmp_path / "x.png", Image.fromarray(pixels))
    assert read_image(path, 3)[0].tolist()[:2] == [[255, 255, 255], [200, 0, 0]]
    assert read_image(path, 3)[0, 2, 1] == pytest.approx(127, abs=1)
    assert read_image(path, 1)[0, 0, 0] == 255
    np.testing.assert_array_equal(read_image(path, 4), pixels)


def test_a_transparent_palette_entry_counts_as_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([9, 9, 9, 50, 60, 70])
    image.putpixel((0, 0), 0)
    path = save(tmp_path / "x.png", image, transparency=0)
    assert read_image(path, 3)[0].tolist() == [[255, 255, 255], [50, 60, 70]]
    image = open_image(path)
    assert image.mode == "RGBA" and list(image.getchannel("A").getdata()) == [0, 255]


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_transparent_colour_counts_as_transparency(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (2, 1), "white")
    image.putpixel((0, 0), 0 if mode != "RGB" else (0, 0, 0))
    path = save(tmp_path / "x.png", image, transparency=0 if mode != "RGB" else (0, 0, 0))
    assert (read_image(path, 3) == 255).all()


def test_transparency_comes_with_the_colours_as_stored(tmp_path: Path) -> None:
    path = write_image(tmp_path / "x.png", mode="RGBA")
    image = open_image(path)
    assert image.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(image), read_image(path, 4))
    assert open_image(write_image(tmp_path / "y.png")).mode == "RGB"


@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, extension: str, orientation: int) -> None:
    image = Image.new("RGB", (32, 16), "black")
    image.paste("white", (0, 0, 16, 8))  # top left quarter
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"x.{extension}", image, exif=exif)
    seen = read_image(path, 1)[..., 0]
    assert seen.shape == ((16, 32) if orientation < 5 else (32, 16))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0)}
    corner |= {5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert seen[corner[orientation]] > 200
    assert (seen > 128).mean() == pytest.approx(0.25, abs=0.05)


def jpeg_bytes() -> bytes:
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def bomb_bytes() -> bytes:
    header = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54)
    return header + struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"<html>not found</html>", "not an image"),
        (jpeg_bytes()[:2000], "damaged image.*truncated"),
        (bomb_bytes(), "too large to decode safely"),
    ],
)
def test_an_unreadable_file_is_named_with_its_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"broken\.jpg: .*{reason}") as caught:
        read_image(path, 3)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_image(tmp_path / "x.png", 3)
    with pytest.raises(UserError, match="is a folder"):
        read_image(tmp_path, 3)


@pytest.mark.filterwarnings("ignore:::PIL")
def test_random_damage_never_escapes_as_another_exception(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    formats = {"jpg": "RGB", "png": "P", "tif": "RGB", "webp": "RGB", "bmp": "L"}
    for extension, mode in formats.items():
        whole = save(tmp_path / f"x.{extension}", gradient(mode)).read_bytes()
        for _ in range(40):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), 4):
                damaged[place] = rng.integers(256)
            path = tmp_path / f"y.{extension}"
            path.write_bytes(bytes(damaged))
            try:
                read_image(path, 3)
            except UserError as error:
                assert "\n" not in str(error)


def test_a_description_gives_the_stored_mode(tmp_path: Path) -> None:
    described = describe_image(save(tmp_path / "x.png", gradient("P")))
    assert (described.size, described.mode, described.bands) == ((12, 8), "P", 3)


def test_extensions_are_compared_ignoring_case() -> None:
    assert has_image_extension(Path("a.JpG")) and has_image_extension(Path("a.WEBP"))
    assert not has_image_extension(Path("a.eps")) and not has_image_extension(Path("jpg"))
