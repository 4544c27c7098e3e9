"""Finding, reading and decoding images: everything here is made in a temporary folder."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from vlcls import image_sources
from vlcls.errors import ImageError
from vlcls.image_sources import ImageSource, as_sources, find_images
from vlcls.images import Loaded, content_key, decode, load_source
from vlcls.images import decoding as images

RED = (200, 10, 30)


def photo(width: int = 24, height: int = 16) -> Image.Image:
    """A smooth picture in which no two corners and no two sides are alike."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (width + height - 2)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def opened(data: object, **options: int) -> Image.Image:
    return decode(load_source(ImageSource("x", data)), **options)


def refusal(data: object) -> str:
    with pytest.raises(ImageError) as caught:
        opened(data)
    assert str(caught.value).startswith("x: ")
    return str(caught.value)[3:]


def names(sources: list[ImageSource]) -> list[str]:
    return [source.name for source in sources]


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- the whole list of what a folder may hold ----------------------------------------------------------


def test_a_folder_of_everything(here: Path) -> None:
    folder = here / "all"
    folder.mkdir()
    whole = encoded(photo(200, 150), "JPEG")
    contents = {
        "a-good.jpg": whole,
        "b-corrupt.jpg": whole[: len(whole) // 2],
        "c-empty.jpg": b"",
        "d-text.jpg": b"hello, this is not an image",
        "e-16bit.png": encoded(Image.fromarray(np.full((4, 4), 65535, np.uint16)), "PNG"),
        "f-cmyk.jpg": encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"),
        "g-animated.gif": encoded(
            Image.new("RGB", (8, 8), (255, 0, 0)),
            "GIF",
            save_all=True,
            append_images=[Image.new("RGB", (8, 8), (0, 0, 255))],
        ),
        "h-bomb.png": png_claiming(60_000, 60_000),
        "notes.md": b"no image, and not taken",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    sources = find_images(["all"])
    assert names(sources) == [f"all/{name}" for name in contents if name != "notes.md"]
    results = {}
    for source in sources:
        try:
            results[source.name[4]] = decode(load_source(source))
        except ImageError as error:
            assert str(error).startswith(source.name + ": ")
            results[source.name[4]] = str(error)
    assert all(isinstance(results[letter], Image.Image) for letter in "aefg")
    assert "truncated JPEG" in results["b"]
    assert results["c"].endswith(": empty file")
    assert results["d"].endswith("not an image (starts with b'hello, this ')")
    assert results["e"].getpixel((0, 0)) == (255, 255, 255)
    assert np.allclose(results["f"].getpixel((4, 4)), (255, 0, 0), atol=3)
    assert np.allclose(results["g"].getpixel((4, 4)), (255, 0, 0), atol=3)
    assert "claims 60000 x 60000 pixels, more than the limit of 178,956,970" in results["h"]


# ---- finding -------------------------------------------------------------------------------------------


def test_folders_are_recursive_natural_and_without_hidden_files(here: Path) -> None:
    touch(here, "p/10.jpg", "p/2.JPG", "p/1/z.png", "p/.hidden.jpg", "p/.git/a.jpg", "p/1/._z.png", "p/x.h5")
    assert names(find_images(["p"])) == ["p/1/z.png", "p/2.JPG", "p/10.jpg"]
    assert names(find_images([here / "p"])) == [str(here / "p" / n) for n in ("1/z.png", "2.JPG", "10.jpg")]


def test_extensions_are_those_pillow_decodes_by_itself() -> None:
    known = image_sources.image_extensions()
    assert {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".mpo", ".jp2"} <= known
    assert not known & {".txt", ".pdf", ".eps", ".ps", ".h5", ".mpeg", ".svg", ""}


def test_a_folder_link_is_followed_once_and_the_real_path_wins(here: Path) -> None:
    touch(here, "p/b/1.jpg", "other/2.jpg", "p/b/c/3.jpg", "sibling.jpg")
    (here / "p/a-link").symlink_to(here / "p/b", target_is_directory=True)
    (here / "p/out").symlink_to(here / "other", target_is_directory=True)
    (here / "other/back").symlink_to(here / "p", target_is_directory=True)
    (here / "p/b/c/up").symlink_to("../..", target_is_directory=True)
    (here / "p/above").symlink_to("..", target_is_directory=True)
    assert names(find_images(["p"])) == ["p/b/1.jpg", "p/b/c/3.jpg", "p/out/2.jpg"]


def test_a_folder_that_cannot_be_listed_is_not_passed_over(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(here, "p/a.jpg", "p/locked/b.jpg")
    scandir, access = os.scandir, os.access

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "access", lambda p, mode: not str(p).endswith("locked") and access(p, mode))
    sources = find_images(["p"])
    assert names(sources) == ["p/a.jpg", "p/locked"]
    with pytest.raises(ImageError, match="p/locked: a folder that may not be read"):
        load_source(sources[1])


def test_a_named_file_is_taken_whatever_its_extension(here: Path) -> None:
    touch(here, "a.dat", ".hidden.jpg")
    assert names(find_images(["a.dat", ".hidden.jpg", Path("missing.jpg")])) == [
        "a.dat",
        ".hidden.jpg",
        "missing.jpg",
    ]
    assert names(find_images("a.dat")) == ["a.dat"]


def test_the_same_path_is_taken_once(here: Path) -> None:
    touch(here, "p/1.jpg", "p/2.jpg")
    found = find_images(
        ["p/2.jpg", "./p/2.jpg", here / "p/2.jpg", "p/../p/2.jpg", "p", "none.jpg", "none.jpg"]
    )
    assert names(found) == ["p/2.jpg", "p/1.jpg", "none.jpg"]


def test_globs(here: Path) -> None:
    touch(
        here,
        "p/1.jpg",
        "p/2.png",
        "p/q/3.jpg",
        "p/.h/4.jpg",
        "p/notes.txt",
        "p/5.dat",
        "p/[6].jpg",
        "p/r/x.md",
    )
    (here / "p/loop").symlink_to(here / "p", target_is_directory=True)
    (here / "p/pool").symlink_to(here / "p", target_is_directory=True)
    assert names(find_images(["p/?.jpg"])) == ["p/1.jpg"]
    assert names(find_images(["p/**/*.jpg"])) == ["p/1.jpg", "p/[6].jpg", "p/q/3.jpg"]
    assert names(find_images(["**/3.*"])) == ["p/q/3.jpg"]
    assert names(find_images([str(here / "p/[12].*")])) == [str(here / "p/1.jpg"), str(here / "p/2.png")]
    assert names(find_images(["p/[6].jpg"])) == ["p/[6].jpg"]  # a file of that very name
    assert names(find_images(["p/*.dat"])) == ["p/5.dat"]
    assert names(find_images(["p/[q-r]"])) == ["p/q/3.jpg"]  # a folder
    assert names(find_images(["*/.h/*"])) == ["p/.h/4.jpg"]
    for pattern in ("p/*.gif", "p/*.txt", "nowhere/*.jpg"):
        with pytest.raises(ImageError, match=pattern.replace("*", r"\*")):
            find_images([pattern])


def test_home_is_expanded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))
    touch(here, "p/1.jpg")
    assert find_images(["~/p/1.jpg"]) == [ImageSource("~/p/1.jpg", here / "p/1.jpg")]
    assert names(find_images(["~/p"])) == [str(here / "p/1.jpg")]


def test_empty_folders_and_urls_are_errors(here: Path) -> None:
    (here / "empty").mkdir()
    with pytest.raises(ImageError, match="empty: no image in this folder"):
        find_images(["empty"])
    for url in ("https://example.org/a.jpg", "s3://bucket/a.jpg", Path("http://example.org/a.jpg")):
        with pytest.raises(ImageError, match="download it first"):
            find_images([url])


def test_list_files(here: Path) -> None:
    touch(here, "a.jpg", "lists/b.jpg", "lists/a.jpg", "p/c.jpg", "é ü.jpg")
    text = "# comment\n\na.jpg\r\nb.jpg\n  p  \nmissing.jpg\na.jpg\né ü.jpg"
    (here / "lists/one.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (here / "lists/two.LST").write_text(text, encoding="utf-16")
    expected = ["a.jpg", "b.jpg", "p/c.jpg", "missing.jpg", "é ü.jpg"]
    for path in ("lists/one.txt", "lists/two.LST"):
        sources = find_images([path])
        assert names(sources) == expected
        assert sources[0].data == Path("a.jpg")  # the current folder before the list's own
        assert sources[1].data == Path("lists/b.jpg")
    (here / "none.txt").write_text("# nothing\n")
    with pytest.raises(ImageError, match=r"none\.txt: no path in this list"):
        find_images(["none.txt"])
    (here / "url.txt").write_text("a.jpg\nhttp://example.org/x.jpg\n")
    with pytest.raises(ImageError, match=r"url\.txt, line 2: .*download"):
        find_images(["url.txt"])


def test_standard_input(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(here, "a.jpg", "b c.jpg", "line\nbreak.jpg")
    assert names(find_images(["-"], stdin=io.StringIO("b c.jpg\n# no\na.jpg\n"))) == ["b c.jpg", "a.jpg"]
    zeros = io.StringIO("line\nbreak.jpg\0a.jpg\0#1.jpg\0")
    assert names(find_images(["-"], stdin=zeros)) == ["line\nbreak.jpg", "a.jpg", "#1.jpg"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"bad\xff.jpg\na.jpg\n"), encoding="utf-8"))
    assert names(find_images(["a.jpg", "-", "-"])) == ["a.jpg", "bad\udcff.jpg"]
    with pytest.raises(ImageError, match="standard input"):
        find_images(["-"], stdin=io.StringIO(""))


# ---- what Python users pass ----------------------------------------------------------------------------


def test_single_items_and_mixtures(here: Path) -> None:
    image = photo()
    image.save("a.png")
    data = Path("a.png").read_bytes()
    for single in ("a.png", Path("a.png"), image, data, np.asarray(image), {"bytes": data, "path": None}):
        (source,) = as_sources(single)
        assert decode(load_source(source)).tobytes() == image.tobytes()
    mixture = ["a.png", "a.png", image, bytearray(data), ImageSource("mine", data), "missing.png"]
    sources = as_sources(iter(mixture))
    assert names(list(sources)) == ["a.png", "a.png", "image 2", "image 3", "mine", "missing.png"]
    assert as_sources([]) == []


def test_a_folder_among_python_items_stands_for_its_images(here: Path) -> None:
    touch(here, "p/1.jpg", "p/2.jpg")
    assert names(list(as_sources(["p", "p/1.jpg"]))) == ["p/1.jpg", "p/2.jpg", "p/1.jpg"]


@pytest.mark.parametrize("wrong", [5, None, [photo(), 5], [object()], object(), bytes, Image.Image])
def test_other_types_are_refused(wrong: object) -> None:
    with pytest.raises(ImageError, match="cannot read an image from"):
        as_sources(wrong)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 3), (2, 3, 4)])
def test_arrays(shape: tuple[int, ...]) -> None:
    levels = (np.arange(np.prod(shape)) * 10).reshape(shape).astype(np.uint8)
    expected = levels.reshape(2, 3, -1)[:, :, :3] * np.ones(3 if levels.size == 6 else 1, np.uint8)
    for array in (levels, levels / 255, (levels / 255).astype(np.float32), levels.astype(np.uint16) * 257):
        assert np.array_equal(np.asarray(opened(array)), expected)
    assert np.array_equal(np.asarray(opened(levels[::-1])), expected[::-1])  # not contiguous


def test_an_array_of_four_axes_is_a_batch() -> None:
    batch = np.stack([np.asarray(photo())] * 3)
    assert names(list(as_sources(batch))) == ["image 0", "image 1", "image 2"]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), "an array of 0 x 5 x 3 has no pixels"),
        (np.zeros((3, 20, 20), np.uint8), "channels come last"),
        (np.zeros(5, np.uint8), "not height x width"),
        (np.full((4, 4), 231.0), "from 231.0 to 231.0; floats must be in"),
        (np.full((4, 4), np.nan), "floats must be in"),
        (np.full((4, 4), -0.1), "floats must be in"),
        (np.zeros((4, 4), np.int64), "an array of int64"),
        (np.zeros((1, 5000), np.uint8), "over 1000 times the other"),
    ],
)
def test_arrays_that_are_no_images(array: np.ndarray, message: str) -> None:
    assert message in refusal(array)


def test_a_dataset_column_is_read_row_by_row(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    photo().save("p.png")
    rows = [{"bytes": encoded(Image.new("RGB", (8, 8), (i, 0, 0)), "PNG"), "path": None} for i in range(4)]
    rows += [{"bytes": None, "path": str(here / "p.png")}, None]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    dataset = datasets.Dataset.from_dict({"image": rows, "label": range(6)}, features=features)

    def refuse(*args: object) -> None:
        raise AssertionError("decoded by datasets")

    monkeypatch.setattr(datasets.Image, "decode_example", refuse)
    for given_images in (dataset, dataset["image"], dataset.with_format("numpy")["image"]):
        sources = as_sources(given_images)
        assert len(sources) == 6
        assert not isinstance(sources, list)
        assert sources[-2].name == "image 4"
        assert names(sources[1:3]) == ["image 1", "image 2"]
        assert [decode(load_source(source)).getpixel((0, 0))[0] for source in sources[:4]] == [0, 1, 2, 3]
        assert load_source(sources[0]).raw == rows[0]["bytes"]
        assert decode(load_source(sources[4])).size == photo().size
        with pytest.raises(ImageError, match="image 5: no image in this row"):
            load_source(sources[5])
        with pytest.raises(IndexError):
            sources[6]
    shuffled = as_sources(dataset.select([3, 1])["image"])
    assert [decode(load_source(source)).getpixel((0, 0))[0] for source in shuffled] == [3, 1]


def test_other_dataset_columns_and_objects() -> None:
    datasets = pytest.importorskip("datasets")
    data = encoded(photo(), "PNG")
    dataset = datasets.Dataset.from_dict({"file": ["missing.png"], "data": [data], "label": [1]})
    assert load_source(as_sources(dataset["data"])[0]).raw == data
    with pytest.raises(ImageError, match="image 0: no such file"):
        load_source(as_sources(dataset["file"])[0])
    with pytest.raises(ImageError, match="image 0: cannot read an image from"):
        load_source(as_sources(dataset["label"])[0])
    with pytest.raises(ImageError, match="0 image columns"):
        as_sources(dataset)
    with pytest.raises(ImageError, match="pass one split"):
        as_sources(datasets.DatasetDict(train=dataset))
    features = datasets.Features({"image": datasets.Image()})
    turned = datasets.Dataset.from_dict({"image": [{"bytes": data, "path": None}]}, features=features)
    turned.set_transform(lambda rows: {"image": [image.rotate(180) for image in rows["image"]]})
    assert opened(load_source(as_sources(turned)[0]).raw).tobytes() == photo().rotate(180).tobytes()


# ---- decoding ------------------------------------------------------------------------------------------

CONVERSIONS = {
    "1": (1, (255, 255, 255)),
    "L": (77, (77, 77, 77)),
    "LA": ((77, 0), (77, 77, 77)),
    "La": ((40, 128), (80, 80, 80)),  # 40 * 255 / 128, rounded
    "RGB": (RED, RED),
    "RGBA": ((*RED, 0), RED),  # alpha dropped, not composited
    "RGBa": ((40, 20, 10, 128), (80, 40, 20)),
    "RGBX": ((*RED, 9), RED),
    "CMYK": ((0, 255, 255, 0), (255, 0, 0)),
    "YCbCr": ((76, 85, 255), (254, 0, 0)),  # JFIF: red is 76, 85, 255
    "HSV": ((0, 255, 200), (200, 0, 0)),
    "LAB": ((255, 128, 128), (255, 255, 255)),  # 128 is neutral
    "I;16": (257 * 99, (99, 99, 99)),
    "I": (65535, (255, 255, 255)),
    "F": (0.2, (51, 51, 51)),
}


@pytest.mark.parametrize("mode", CONVERSIONS)
def test_every_mode(mode: str) -> None:
    value, expected = CONVERSIONS[mode]
    result = opened(Image.new(mode, (3, 2), value))
    assert (result.mode, result.size) == ("RGB", (3, 2))
    tolerance = 2 if mode in ("La", "RGBa", "YCbCr", "LAB") else 0
    assert np.allclose(result.getpixel((2, 1)), expected, atol=tolerance)


def test_every_mode_of_this_pillow_is_converted() -> None:
    for mode in Image.MODES:
        assert opened(Image.new(mode, (3, 2))).mode == "RGB"


def test_arrays_of_sixteen_bits_are_rounded() -> None:
    levels = np.array([[0, 128, 129, 385, 386, 32768, 65535]], np.uint16)
    assert np.asarray(opened(levels))[0, :, 0].tolist() == [0, 0, 1, 1, 2, 128, 255]


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_are_scaled_not_clipped(mode: str) -> None:
    levels = np.array([[0, 128, 129, 255, 256, 257, 32768, 65535]], np.uint16)
    image = Image.frombytes(mode, (8, 1), levels.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    assert np.asarray(opened(image))[0, :, 0].tolist() == [0, 0, 1, 1, 1, 1, 128, 255]


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("I", [0, 257, 65535], [0, 1, 255]),
        ("I", [-100, 0, 100], [0, 128, 255]),
        ("I", [0, 50_000, 100_000], [0, 128, 255]),
        ("F", [0, 0.5, 1], [0, 128, 255]),
        ("F", [0, 77, 255], [0, 77, 255]),
        ("F", [0, 257, 60000], [0, 1, 233]),
        ("F", [-1, 0, 1], [0, 128, 255]),
        ("F", [1e6, 1e6, 1e6], [0, 0, 0]),
    ],
)
def test_wide_modes_use_the_range_of_their_values(
    mode: str, values: list[float], expected: list[int]
) -> None:
    image = Image.fromarray(np.array([values], np.int32 if mode == "I" else np.float32))
    assert image.mode == mode
    assert np.asarray(opened(image))[0, :, 0].tolist() == expected


def test_not_a_number_is_refused() -> None:
    assert "NaN" in refusal(Image.fromarray(np.array([[np.nan, 1]], np.float32)))


def test_palettes_with_transparency_and_without_a_warning() -> None:
    image = photo().quantize(16)
    for transparency in (3, bytes(range(16))):
        data = encoded(image, "PNG", transparency=transparency)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert opened(data).tobytes() == image.convert("RGB").tobytes()
    (mine := image.copy()).info["transparency"] = bytes(16)
    opened(mine)
    assert mine.info["transparency"] == bytes(16)  # the user's image is left as it was


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, kind: str) -> None:
    upright = photo(32, 16)
    # How to turn what is stored, by the EXIF standard, and what a camera held the other way round stores.
    turns = {2: (0, 0), 3: (3, 3), 4: (1, 1), 5: (5, 5), 6: (4, 2), 7: (6, 6), 8: (2, 4)}
    stored = upright
    if orientation > 1:
        stored = upright.transpose(Image.Transpose(turns[orientation][1]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif.tobytes())
    result = opened(data)
    expected = Image.open(io.BytesIO(encoded(stored, kind)))  # what JPEG makes of the pixels
    if orientation > 1:
        expected = expected.transpose(Image.Transpose(turns[orientation][0]))
    assert result.tobytes() == expected.tobytes()
    assert result.size == upright.size
    if kind != "JPEG":
        assert result.tobytes() == upright.tobytes()
    lazy = Image.open(io.BytesIO(data))
    assert opened(lazy).tobytes() == result.tobytes()
    if orientation > 1:
        assert result.getexif().get(0x0112, 1) == 1  # nobody turns it a second time


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_does_not_cost_the_picture() -> None:
    data = encoded(photo(), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    assert opened(data).tobytes() == photo().tobytes()


def test_adobe_cmyk_and_animated_webp() -> None:
    cmyk = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert np.allclose(opened(encoded(cmyk, "JPEG", quality=95)).getpixel((8, 8)), (0, 255, 255), atol=3)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((0, 200, 0), (200, 0, 0))]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert opened(data).getpixel((1, 1)) == (0, 200, 0)


def test_min_side_shrinks_jpegs_only_and_never_too_far() -> None:
    large = photo(800, 600)
    jpeg = encoded(large, "JPEG")
    sizes = {
        side: min(opened(jpeg, min_side=side).size) for side in (1, 75, 76, 150, 151, 300, 301, 600, 5000)
    }
    assert sizes == {1: 75, 75: 75, 76: 150, 150: 150, 151: 300, 300: 300, 301: 600, 600: 600, 5000: 600}
    assert opened(encoded(large, "PNG"), min_side=75).size == (800, 600)
    for size, scale in {(804, 600): 4, (802, 600): 2, (801, 600): 1}.items():  # the aspect ratio is kept
        odd = opened(encoded(photo(*size), "JPEG"), min_side=1)
        assert odd.size == (size[0] // scale, size[1] // scale)
    reduced = np.asarray(opened(jpeg, min_side=150), np.float32)
    expected = np.asarray(opened(jpeg).reduce(4), np.float32)
    assert np.abs(reduced - expected).max() <= 4


# ---- what is wrong -------------------------------------------------------------------------------------


def test_a_bomb_fails_before_its_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("allocated")

    loaded = Loaded("x", png_claiming(60_000, 60_000), b"")
    small = Loaded("x", encoded(photo(), "PNG"), b"")
    for limit in (None, 10, Image.MAX_IMAGE_PIXELS):  # the user's setting plays no part
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        monkeypatch.setattr(Image.core, "fill", refuse)
        monkeypatch.setattr(Image.core, "new", refuse)
        with pytest.raises(ImageError, match="claims 60000 x 60000"):
            decode(loaded)
        assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="limit of 100"):
        decode(small, max_pixels=100)


def test_large_images_within_the_limit_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "truncated" in refusal(png_claiming(12_000, 12_000)).lower()
        assert "over 1000 times" in refusal(png_claiming(1, 100_000))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"%PDF-1.7", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript drawing"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIF"),
        (bytes(5000), "not an image (5,000 bytes, all zero)"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"a", "not an image (starts with b'a')"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, message: str) -> None:
    assert message in refusal(data)


def test_files_that_cannot_be_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(here / "missing.jpg") == "no such file"
    (here / "link.jpg").symlink_to(here / "gone.jpg")
    assert refusal(here / "link.jpg") == "broken symbolic link"
    (here / "self.jpg").symlink_to(here / "self.jpg")
    assert refusal(here / "self.jpg").startswith("cannot be read (")
    assert refusal(here) == "a folder, not an image"
    assert refusal(here / ("x" * 5000)).startswith("cannot be read (")
    assert refusal(Path("nul\0inside.jpg")).startswith("cannot be read (")
    touch(here, "a.jpg")
    assert refusal(here / "a.jpg/b.jpg").startswith("cannot be read (")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(PermissionError(13, "denied")))
        assert refusal(here / "a.jpg") == "permission denied"
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 0)
    assert "more than the limit" in refusal(here / "a.jpg")


@pytest.mark.skipif(os.name == "nt", reason="no pipes and devices in the file system")
def test_pipes_and_devices_are_not_read(here: Path) -> None:
    os.mkfifo(here / "pipe.jpg")
    for path in (here / "pipe.jpg", Path("/dev/zero")):
        started = time.monotonic()
        assert "not a regular file" in refusal(path)
        assert time.monotonic() - started < 1


def test_a_lazy_pil_image_whose_file_is_truncated() -> None:
    data = encoded(photo(200, 200), "JPEG")
    lazy = Image.open(io.BytesIO(data[: len(data) // 2]))
    assert "truncated" in refusal(lazy)
    assert "nothing to see" in refusal(Image.new("RGB", (0, 5)))


# ---- keys ----------------------------------------------------------------------------------------------


def test_keys_follow_the_content(here: Path) -> None:
    data = encoded(photo(), "PNG")
    (here / "a.png").write_bytes(data)
    (here / "b.png").write_bytes(data)
    keys = [load_source(ImageSource("x", d)).key for d in (here / "a.png", here / "b.png", data)]
    assert len(set(keys)) == 1
    assert len(keys[0]) == 16
    array = np.asarray(photo())
    keys = [load_source(ImageSource("x", d)).key for d in (array, photo(), array.copy(), array / 255)]
    assert len(set(keys)) == 1


def test_keys_of_pixels_differ_with_all_that_shows() -> None:
    image = photo()
    palette = image.quantize(8)
    other = palette.copy()
    other.putpalette(list(reversed(palette.getpalette() or [])))
    turned = image.copy()
    turned.getexif()[0x0112] = 6
    variants = [
        image,
        image.convert("L"),
        palette,
        other,
        turned,
        Image.frombytes("RGB", (16, 24), image.tobytes()),
    ]
    assert len({content_key(variant) for variant in variants}) == len(variants)


@given(st.binary(max_size=40), st.binary(max_size=40))
@example(b"a", b"a")
def test_keys_are_equal_only_for_equal_content(one: bytes, two: bytes) -> None:
    assert (content_key(one) == content_key(two)) == (one == two)
    if one and two:
        wide = [np.frombuffer(data, np.uint8)[None] for data in (one, two)]
        keys = [load_source(ImageSource("x", array)).key for array in wide]
        assert (keys[0] == keys[1]) == (one == two)


# ---- garbage and threads -------------------------------------------------------------------------------

KINDS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")
SEEDS = {kind: encoded(photo(), kind) for kind in KINDS}
QUICK = settings(max_examples=150, deadline=5000, suppress_health_check=list(HealthCheck))


def reads_or_refuses(data: bytes) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = opened(data, min_side=8)
    except ImageError as error:
        assert str(error).startswith("x: ")
    else:
        assert result.mode == "RGB"
        assert result.getpixel((0, 0)) is not None


@QUICK
@given(st.sampled_from([b"", *(data[:16] for data in SEEDS.values())]), st.binary(max_size=300))
def test_random_bytes_are_refused_or_read(prefix: bytes, rest: bytes) -> None:
    reads_or_refuses(prefix + rest)


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(data=st.data())
def test_damaged_files_are_refused_or_read(kind: str, data: st.DataObject) -> None:
    content = bytearray(SEEDS[kind])
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=6)):
        content[place] = value
    reads_or_refuses(bytes(content[: data.draw(st.integers(0, len(content)))]))


def test_threads_share_one_lazy_image_and_pillow() -> None:
    content = encoded(photo(300, 200), "JPEG")
    lazy = Image.open(io.BytesIO(content))
    expected = opened(content).tobytes()
    barrier = threading.Barrier(4)

    def work(_: int) -> bool:
        barrier.wait()
        return all(opened(data).tobytes() == expected for data in (lazy, content))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
