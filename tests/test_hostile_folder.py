"""One folder with everything that goes wrong in real collections; a run that is killed."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from vlcls import EmbeddingStore


def _png_claiming(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def hostile(tmp_path, picture):
    folder = tmp_path / "hostile"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "loop").symlink_to(folder, target_is_directory=True)
    photo = picture(1, 120, 90)
    photo.save(folder / "good.jpg")
    photo.save(folder / "deep" / "good.png")
    (folder / "corrupt.jpg").write_bytes((folder / "good.jpg").read_bytes()[:300])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("I am not a photograph.")
    ramp = np.linspace(0, 65535, 64 * 48, dtype=np.uint16).reshape(48, 64)
    Image.fromarray(ramp).save(folder / "sixteen.png")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.save(folder / "animated.gif", save_all=True, append_images=[picture(2, 120, 90)])
    (folder / "bomb.png").write_bytes(_png_claiming(60_000, 60_000))
    return folder


def _run(*arguments, **options):
    command = [
        sys.executable,
        "-m",
        "vlcls",
        "classify",
        *map(str, arguments),
        "-l",
        "cat,dog,owl",
        "-f",
        "jsonl",
    ]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_each_is_handled_and_the_others_are_classified(hostile, model_spec):
    done = _run(hostile, "-e", model_spec("open_clip-clip"))
    rows = {
        row["image"].removeprefix(f"{hostile}/"): row for row in map(json.loads, done.stdout.splitlines())
    }
    assert done.returncode == 3
    assert {name for name, row in rows.items() if row["error"]} == {
        "corrupt.jpg",
        "empty.jpg",
        "text.jpg",
        "bomb.png",
    }
    good = {"good.jpg", "deep/good.png", "sixteen.png", "cmyk.jpg", "animated.gif"}
    assert {name for name, row in rows.items() if row["label"]} == good
    for name, reason in {
        "empty.jpg": "empty",
        "text.jpg": "not an image",
        "bomb.png": "60000 x 60000",
    }.items():
        assert name in rows[name]["error"] and reason in rows[name]["error"]
        assert rows[name]["error"] in done.stderr
    assert "4 images could not be read" in done.stderr


def test_a_killed_run_goes_on_where_it_was(tmp_path, model_spec, clip, picture, monkeypatch):
    folder, cache = tmp_path / "many", tmp_path / "cache"
    folder.mkdir()
    for number in range(120):
        picture(number, 200, 150).save(folder / f"{number:03}.png")
    monkeypatch.setenv("VLCLS_CACHE", str(cache))
    # Encode slowly and write at once, so that the kill comes in the middle.
    script = (
        "import sys, time, vlcls.store.partition, vlcls.encoders.base as b\n"
        "vlcls.store.partition.FLUSH_SECONDS = 0\n"
        "whole = b.Encoder.encode_images\n"
        "def slow(self, pixels):\n    time.sleep(0.05)\n    return whole(self, pixels)\n"
        "b.Encoder.encode_images = slow\n"
        "from vlcls.cli import main\nmain()\n"
    )
    arguments = [
        "classify",
        str(folder),
        "-l",
        "cat,dog",
        "-e",
        model_spec("open_clip-clip"),
        "--batch-size",
        "4",
    ]
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.DEVNULL)

    def stored():
        with EmbeddingStore(cache).partition(clip, "images") as partition:
            return len(partition)

    deadline = time.monotonic() + 120
    while stored() < 20 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = stored()
    assert 20 <= kept < 120

    from vlcls import build_classifier

    encoded = []
    whole = type(clip).encode_images
    monkeypatch.setattr(
        type(clip), "encode_images", lambda self, pixels: encoded.append(len(pixels)) or whole(self, pixels)
    )
    classifier = build_classifier(["cat", "dog"], clip, cache=cache)
    results = classifier.predict(folder, cache=cache)
    assert len(results) == 120 and all(result.label for result in results)
    assert sum(encoded) == 120 - kept
    fresh = classifier.predict(folder, cache=False)
    for resumed, direct in zip(results, fresh, strict=True):
        assert (resumed.image, resumed.label) == (direct.image, direct.label)
        assert resumed.score == pytest.approx(direct.score, abs=1e-5)
