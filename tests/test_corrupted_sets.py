"""Corruptions of ImageNet-C made on the fly: the same for every image whatever happens around it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from vlcls.embeddings import embed_images
from vlcls.errors import EvaluationError, ImageError, MissingExtraError
from vlcls.evaluation.data import corrupted_sets
from vlcls.evaluation.data.corrupted_sets import CORRUPTIONS, corrupted
from vlcls.evaluation.data.parts import EvaluationSet, listed
from vlcls.image_sources import ImageSource
from vlcls.images import decode, load_source
from vlcls.labels import as_labels


def picture(seed: int, size: tuple[int, int] = (300, 260)) -> Image.Image:
    """Smooth colours with some edges: something for blur and contrast to act on."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    base = 120 + 60 * np.sin(columns / (9 + seed)) + 50 * np.cos(rows / 17)
    pixels = np.stack([base, base[::-1], np.where((rows // 20 + seed) % 2, base, 255 - base)], axis=-1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def made(count: int, order: list[int] | None = None) -> EvaluationSet:
    order = list(range(count)) if order is None else order
    sources = [ImageSource(f"{n}.png", picture(n)) for n in order]
    truth = tuple((n % 2,) for n in order)
    return EvaluationSet(
        "set",
        as_labels(["a", "b"]),
        listed(sources, truth, {"g": ("x",) * len(order)}),
        len(order),
        {"path": "p"},
    )


def images(given: EvaluationSet, limit: int | None = None) -> dict[str, np.ndarray]:
    (part,) = given.parts(limit)
    return {source.name: np.asarray(decode(load_source(source))) for source in part.sources}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_every_corruption(corruption):
    found = images(corrupted(made(1), corruption, 3))["0.png"]
    assert found.shape == (224, 224, 3) and found.dtype == np.uint8
    clean = np.asarray(corrupted_sets._middle(picture(0)))
    assert np.abs(found.astype(int) - clean).mean() > 1
    again = images(corrupted(made(1), corruption, 3))["0.png"]
    assert np.array_equal(found, again)


def test_there_are_the_fifteen():
    imagecorruptions = pytest.importorskip("imagecorruptions")
    assert set(CORRUPTIONS) == set(imagecorruptions.get_corruption_names("common")) and len(CORRUPTIONS) == 15


@pytest.mark.parametrize("corruption", ["gaussian_noise", "impulse_noise", "glass_blur", "snow"])
def test_severities_and_seeds_differ(corruption):
    first = images(corrupted(made(1), corruption, 1))["0.png"]
    assert not np.array_equal(first, images(corrupted(made(1), corruption, 1, seed=1))["0.png"])
    assert not np.array_equal(first, images(corrupted(made(1), corruption, 2))["0.png"])


def test_noise_grows_with_severity():
    clean = np.asarray(corrupted_sets._middle(picture(0))).astype(int)
    away = [
        np.abs(images(corrupted(made(1), "gaussian_noise", s))["0.png"] - clean).mean() for s in range(1, 6)
    ]
    assert away == sorted(away) and away[4] > 2 * away[0]


@pytest.mark.parametrize("corruption", ["gaussian_noise", "impulse_noise", "glass_blur", "frost"])
def test_neither_order_nor_limits_nor_threads_matter(corruption):
    plain = images(corrupted(made(6), corruption, 2))
    assert len({found.tobytes() for found in plain.values()}) == 6
    turned = images(corrupted(made(6, [5, 3, 1, 0, 2, 4]), corruption, 2))
    some = images(corrupted(made(6), corruption, 2), 3)
    (part,) = corrupted(made(6), corruption, 2).parts(None)
    with ThreadPoolExecutor(4) as pool:
        read = pool.map(lambda source: (source.name, np.asarray(decode(load_source(source)))), part.sources)
        threaded = dict(read)
    for other in (turned, some, threaded):
        for name, found in other.items():
            assert np.array_equal(found, plain[name])
    assert set(some) == {"0.png", "2.png", "4.png"}


def test_the_global_random_state_is_left_alone():
    np.random.seed(3)
    expected = np.random.rand(2)
    np.random.seed(3)
    first = np.random.rand()
    images(corrupted(made(1), "fog", 3))
    assert [first, np.random.rand()] == list(expected)


def test_nothing_is_read_before_it_is_needed(monkeypatch):
    read = []
    monkeypatch.setattr(
        corrupted_sets, "corrupted_image", lambda source, *_: read.append(source.name) or picture(0)
    )
    (part,) = corrupted(made(3), "fog", 1).parts(None)
    sources = part.sources[:2]
    assert not read and [source.name for source in sources] == ["0.png", "1.png"]
    load_source(part.sources[-1])
    assert read == ["2.png"]


def test_the_middle_is_what_imagenet_c_takes():
    from torchvision import transforms

    usual = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    for size in ((300, 260), (261, 300), (32, 32), (640, 480), (333, 1000)):
        ours, theirs = corrupted_sets._middle(picture(1, size)), usual(picture(1, size))
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_the_set_says_what_it_is():
    found = corrupted(made(2), "fog", 4, seed=7)
    assert found.name == "set-fog-4" and found.count == 2
    assert found.source == {"path": "p", "corruption": "fog", "severity": "4", "corruption_seed": "7"}
    (part,) = found.parts(None)
    assert part.truth == ((0,), (1,)) and part.groups == {"g": ("x", "x")}


def test_images_that_cannot_be_read(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    source = ImageSource("a.png", tmp_path / "a.png")
    given = EvaluationSet("set", as_labels(["a"]), listed([source], ((0,),), {}), 1)
    (part,) = corrupted(given, "fog", 1).parts(None)
    with pytest.raises(ImageError) as error:
        load_source(part.sources[0])
    with pytest.raises(ImageError) as plain:
        decode(load_source(source))
    assert str(error.value) == str(plain.value)


def test_what_cannot_be_made(monkeypatch):
    with pytest.raises(EvaluationError, match="no corruption 'rain'; there are gaussian_noise, "):
        corrupted(made(1), "rain", 1)
    for severity in (0, 6):
        with pytest.raises(EvaluationError, match=f"severity {severity} of fog: 1 to 5 are known"):
            corrupted(made(1), "fog", severity)
    monkeypatch.setattr(corrupted_sets, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"vlcls\[corruptions\]"):
        corrupted(made(1), "fog", 1)


def test_they_are_embedded_like_any_other(clip):
    (clean,) = made(4).parts(None)
    (part,) = corrupted(made(4), "contrast", 5).parts(None)
    before = next(iter(embed_images(clean.sources, clip, batch_size=4))).embeddings
    found = next(iter(embed_images(part.sources, clip, batch_size=4)))
    assert not found.errors and found.embeddings.shape == before.shape
    assert not (found.embeddings - before).abs().max() < 1e-4
