"""No file of a folder is passed over without a word; formats that need a plug-in say which."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlcls.errors import ImageError, VlclsWarning
from vlcls.image_sources import ImageSource, as_sources, find_images, image_extensions, kinds
from vlcls.images import decode, load_source
from vlcls.labelled import labelled_folder

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    folder.mkdir()
    Image.new("RGB", (30, 20), (90, 140, 60)).save(folder / "a.jpg")
    return folder


@pytest.fixture
def without_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Image.registered_extensions()  # other tests of this process may have registered them
    known = {extension: kind for extension, kind in known.items() if kinds.plugin_of(extension) is None}
    monkeypatch.setattr(Image, "registered_extensions", lambda: known)
    monkeypatch.setattr(kinds.Plugin, "installed", False)
    image_extensions.cache_clear()
    yield
    monkeypatch.undo()
    image_extensions.cache_clear()


def said_of(inputs: object, find: object = find_images) -> tuple[list[str], str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [source.name for source in find(inputs)]
    assert len(caught) <= 1
    assert all(issubclass(warning.category, VlclsWarning) for warning in caught)
    return found, "".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize("plugin", kinds.PLUGINS, ids=lambda plugin: plugin.extra)
def test_photos_that_need_a_plugin_are_counted(
    photos: Path, without_plugins: None, plugin: kinds.Plugin
) -> None:
    extension = min(plugin.extensions)
    for name in ("b", "sub/c"):
        path = photos / (name + extension.upper())
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(HEIC)
    for find, inputs in ((find_images, ["photos"]), (as_sources, "photos"), (find_images, ["photos/**/*"])):
        found, said = said_of(inputs, find)
        assert found == ["photos/a.jpg"]
        assert f'2 files left out: 2 {extension} ({plugin.what}: pip install "vlcls[{plugin.extra}]")' in said


def test_unknown_extensions_are_counted_and_notes_are_not(photos: Path) -> None:
    for name in ("b.xyz", "c.xyz", "d", "e.MOV", "f.cr2", "notes.txt", "table.csv", ".DS_Store", "Thumbs.db"):
        (photos / name).write_bytes(b"x")
    assert said_of(["photos"]) == (
        ["photos/a.jpg"],
        "photos: 5 files left out: 2 .xyz, 1 without an extension, 1 .cr2 (camera raw: export it as JPEG), "
        "1 .mov (video)",
    )
    (photos / "b.xyz").unlink()
    for name in ("c.xyz", "d", "e.MOV", "f.cr2"):
        (photos / name).unlink()
    assert said_of(["photos"]) == (["photos/a.jpg"], "")


def test_many_folders_are_one_warning(photos: Path) -> None:
    for name in ("one", "two", "three"):
        (photos / name).mkdir()
        (photos / name / "x.xyz").touch()
        Image.new("RGB", (8, 8)).save(photos / name / "a.png")
    found, said = said_of(sorted(photos.iterdir()))
    assert len(found) == 4
    assert "photos/one and 2 more: 3 files left out: 3 .xyz" in said


def test_a_folder_of_nothing_else_says_what_is_there(tmp_path: Path, without_plugins: None) -> None:
    (tmp_path / "a.heic").write_bytes(HEIC)
    with pytest.raises(
        ImageError, match=r"no image in this folder.*1 file left out: 1 \.heic .*vlcls\[heif\]"
    ):
        find_images([tmp_path])


def test_a_photo_named_itself_says_which_plugin(photos: Path, without_plugins: None) -> None:
    (photos / "b.heic").write_bytes(HEIC)
    (photos / "c.jxl").write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50))
    for name, extra in (("b.heic", "heif"), ("c.jxl", "jxl")):
        (source,) = find_images([f"photos/{name}"])
        code = (
            "import sys\nfrom importlib import util\n"
            "find = util.find_spec\n"
            "util.find_spec = lambda name, *a: None if name.startswith('pillow_') else find(name, *a)\n"
            "from vlcls.images.decoding import *\nfrom vlcls.image_sources import ImageSource\n"
            "decode(load_source(ImageSource('x', Path(sys.argv[1]))))"
        )
        done = subprocess.run([sys.executable, "-c", code, source.name], capture_output=True, text=True)
        assert f'pip install "vlcls[{extra}]"' in done.stderr


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="needs the extra heif")
def test_heif_photos_are_read_and_turned(photos: Path) -> None:
    import pillow_heif

    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :30], picture[:, 30:] = (220, 20, 20), (20, 20, 220)
    pillow_heif.from_pillow(Image.fromarray(picture)).save(photos / "b.HEIC", quality=95)
    found, said = said_of(["photos"])
    assert (found, said) == (["photos/a.jpg", "photos/b.HEIC"], "")
    decoded = decode(load_source(ImageSource("b", photos / "b.HEIC")))
    assert decoded.size == (60, 40)
    assert np.allclose(decoded.getpixel((5, 5)), (220, 20, 20), atol=12)
    (photos / "c.heic").write_bytes((photos / "b.HEIC").read_bytes()[:400])
    with pytest.raises(ImageError, match="b: "):
        decode(load_source(ImageSource("b", photos / "c.heic")))


@pytest.mark.parametrize(
    "name", ["@eaDir", "@EADIR", "__MACOSX", "#recycle", "$RECYCLE.BIN", "@__thumb", "lost+found"]
)
def test_folders_of_systems_hold_no_images(photos: Path, name: str) -> None:
    thumbnail = photos / name / "a.jpg"
    thumbnail.mkdir(parents=True)  # Synology makes a folder for each photo
    Image.new("RGB", (8, 8)).save(thumbnail / "SYNOPHOTO_THUMB_M.jpg")
    Image.new("RGB", (8, 8)).save(photos / name / "b.jpg")
    for inputs in ("photos", "photos/**/*.jpg", "photos/*/*.jpg", "photos/*"):
        found = (
            [source.name for source in find_images([inputs, "photos/a.jpg"])]
            if inputs != "photos/*/*.jpg"
            else []
        )
        assert found in ([], ["photos/a.jpg"])
    assert f"photos/{name}/b.jpg" in [source.name for source in find_images([photos / name])]  # asked for


def test_folders_of_systems_are_no_classes(tmp_path: Path) -> None:
    from vlcls.evaluation.data import open_set

    for place in ("cat", "dog", "@eaDir", "cat/@eaDir"):
        (tmp_path / place).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / place / "a.jpg")
    assert labelled_folder(tmp_path).labels.names == ("cat", "dog")
    assert open_set(str(tmp_path)).labels.names == ("cat", "dog")


def test_a_command_says_it_and_goes_on(photos: Path) -> None:
    (photos / "b.xyz").touch()
    done = subprocess.run(
        [sys.executable, "-m", "vlcls", "classify", "photos", "-l", "cat,dog", "-e", "conse", "--no-cache"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0
    assert "warning: photos: 1 file left out: 1 .xyz" in done.stderr


# ---- what Pillow reads is read -------------------------------------------------------------------------


def _saved() -> list[tuple[str, bytes]]:
    """One small picture in every format and mode that this Pillow writes and reads."""
    Image.init()
    ramp = np.arange(40 * 30 * 3, dtype=np.uint32).reshape(30, 40, 3) % 256
    picture = Image.fromarray(ramp.astype(np.uint8))
    found = []
    for kind in sorted(set(Image.SAVE) & set(Image.OPEN) - kinds.NOT_DECODABLE):
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"):
            for options in (
                {},
                {"compression": "tga_rle"},
                {"orientation": 1},
                {"id_section": b"0123456789"},
            ):
                if options and kind != "TGA":
                    continue
                buffer = io.BytesIO()
                try:
                    picture.convert(mode).save(buffer, kind, **options)
                    Image.open(io.BytesIO(buffer.getvalue())).load()
                except Exception:
                    continue
                found.append((f"{kind}-{mode}-{'-'.join(options)}", buffer.getvalue()))
    return found


SAVED = _saved()


@pytest.mark.parametrize("data", [data for _, data in SAVED], ids=[name for name, _ in SAVED])
def test_whatever_pillow_reads_is_read_alike(data: bytes) -> None:
    expected = Image.open(io.BytesIO(data))
    if expected.mode in ("I", "F") or expected.mode.startswith("I;16"):
        pytest.skip("scaled, not clipped")
    assert decode(load_source(ImageSource("x", data))).tobytes() == expected.convert("RGB").tobytes()


def test_the_list_of_formats_is_no_short_one() -> None:
    names = {name.split("-")[0] for name, _ in SAVED}
    assert {"TGA", "ICO", "PCX", "BMP", "GIF", "PNG", "JPEG", "TIFF", "WEBP", "PPM", "SGI", "QOI"} <= names
    assert len(SAVED) > 60


@pytest.mark.parametrize("top", [200, 255, 1000, 4095])
def test_few_bits_stored_in_sixteen_are_not_black(top: int) -> None:
    levels = np.linspace(0, top, 64, dtype=np.uint16).reshape(8, 8)
    for array in (levels, levels.astype(np.int32)):
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "TIFF")
        assert decode(load_source(ImageSource("x", buffer.getvalue()))).getextrema()[0][1] > 50
    assert decode(load_source(ImageSource("x", levels))).getextrema()[0][1] > 50


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_a_png_with_a_wrong_checksum_is_refused(mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).convert(mode).save(
        buffer, "PNG"
    )
    data = buffer.getvalue()
    place, chunks = 8, 0
    while place < len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        damaged = bytearray(data)
        damaged[place + 8 + length] ^= 1  # the first byte of the checksum
        with pytest.raises(ImageError, match="damaged PNG"):
            decode(load_source(ImageSource("x", bytes(damaged))))
        place, chunks = place + 12 + length, chunks + 1
    assert chunks >= 3 and kind == b"IEND"
    decode(load_source(ImageSource("x", data)))
