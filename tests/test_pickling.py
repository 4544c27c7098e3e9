"""Encoders and classifiers go to other processes and into files: pickle, copy, joblib, spawned processes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch
from conftest import MODELS
from models import with_variant
from PIL import Image

import vlcls
from vlcls.classifiers.cased import Cased
from vlcls.encoders import Encoder
from vlcls.encoders.conse import VARIANTS
from vlcls.retrieval import build_captions

TEXTS = ["a photo of a cat.", "dog"]


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


WAYS: dict[str, Callable[[Any], Any]] = {"pickle": through_pickle, "deepcopy": copy.deepcopy}


@pytest.fixture(scope="module")
def any_encoder(get_encoder: Callable[[str], Encoder]) -> Callable[[str], Encoder]:
    conse = vlcls.load_encoder("conse", "cpu", "fp32")
    variants = {f"conse:{name}": with_variant(conse, name) for name in VARIANTS}
    return lambda kind: variants[kind] if kind in variants else get_encoder(kind)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [*MODELS, *(f"conse:{name}" for name in VARIANTS)])
def test_a_classifier_with_any_encoder(kind: str, way: str, any_encoder: Any, picture: Any) -> None:
    encoder = any_encoder(kind)
    classifier = vlcls.build_classifier(["cat", "dog"], encoder, cache=False)
    other = WAYS[way](classifier)
    assert other.encoder is not encoder and other.encoder.fingerprint == encoder.fingerprint
    assert torch.allclose(other.encoder.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-6)
    images = [picture(seed) for seed in range(3)]
    for own, found in zip(
        classifier.predict(images, cache=False), other.predict(images, cache=False), strict=True
    ):
        assert [each.label for each in found.top_k] == [each.label for each in own.top_k]
        assert found.score == pytest.approx(own.score, abs=1e-5)


def labels_of(classifier: Any, images: list[Image.Image]) -> list[str]:
    return [found.label for found in classifier.predict(images, cache=False)]


@pytest.mark.parametrize("kind", ["conse:joint", "open_clip-clip", "hf-siglip"])
def test_in_a_spawned_process_and_through_joblib(
    kind: str, any_encoder: Any, picture: Any, tmp_path: Path
) -> None:
    classifier = vlcls.build_classifier(["cat", "dog", "red"], any_encoder(kind), cache=False)
    images = [picture(seed) for seed in range(4)]
    expected = labels_of(classifier, images)
    joblib.dump(classifier, tmp_path / "classifier.joblib")
    assert labels_of(joblib.load(tmp_path / "classifier.joblib"), images) == expected
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(labels_of, classifier, images).result(timeout=300) == expected


def test_a_classifier_without_names(clip: Encoder, picture: Any, tmp_path: Path) -> None:
    captions = ["a photo of a cat", "a dog in the grass", "the red horse", "two cats and a dog"]
    build_captions(captions, tmp_path / "captions", clip)
    method = Cased(tmp_path / "captions", clip, cache=False)
    embeddings = clip.encode_images(torch.stack([clip.preprocess(picture(seed)) for seed in range(3)]))
    for way in WAYS.values():
        assert way(method)(embeddings) == method(embeddings)


@pytest.mark.parametrize("weighting", [None, "autoclip", "softmax"])
def test_a_classifier_that_has_worked(weighting: str | None, clip: Encoder, picture: Any, tmp_path: Path):
    """With the store open, in threads, with weights."""
    classifier = vlcls.build_classifier(["cat", "dog"], clip, weighting=weighting, cache=tmp_path / "store")
    images = [picture(seed) for seed in range(3)]
    expected = [found.score for found in classifier.predict(images, cache=tmp_path / "store", workers=2)]
    for way in WAYS.values():
        found = way(classifier).predict(images, cache=tmp_path / "store", workers=2)
        assert [each.score for each in found] == pytest.approx(expected, abs=1e-6)


def test_a_saved_classifier_that_has_not_loaded_its_encoder(clip: Encoder, picture: Any, tmp_path: Path):
    folder = vlcls.build_classifier(["cat", "dog"], clip, cache=False).save_pretrained(tmp_path / "saved")
    classifier = vlcls.load(folder)
    assert len(pickle.dumps(classifier)) < 1_000_000  # no encoder in it
    images = [picture(seed) for seed in range(3)]
    assert labels_of(through_pickle(classifier), images) == labels_of(classifier, images)
