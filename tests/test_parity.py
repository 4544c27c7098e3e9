"""Zero-shot classifiers against open_clip's builder, the transformers pipeline and a slow loop in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip import zero_shot_metadata
from PIL import Image

import vlcls
from vlcls.encoders import Encoder

# Underscores, capitals and names that want "an": nothing may be tidied where the peers do not.
NAMES = [
    "cat",
    "dog",
    "horse",
    "elephant",
    "Person",
    "hot_dog",
    "origami owl",
    "small red apple",
    "apple",
    "hour",
]
TEMPLATES = {
    "simple": zero_shot_metadata.SIMPLE_IMAGENET_TEMPLATES,
    "openai-imagenet": zero_shot_metadata.OPENAI_IMAGENET_TEMPLATES,
}
# SigLIP's small model reads 16 tokens, and some templates have more; open_clip cuts them silently.
pytestmark = pytest.mark.filterwarnings("ignore:.*were cut:vlcls.errors.VlclsWarning")


def as_published(names: list[str], encoder: Encoder, templates: str | list[str]) -> vlcls.PromptClassifier:
    """Nothing tidied: texts are what the peers make of the same names."""
    return vlcls.build_classifier(names, encoder, templates, clean_names=False, articles=False, cache=False)


@pytest.fixture(scope="module")
def odd_photos(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> list[Path]:
    folder = tmp_path_factory.mktemp("odd")
    sizes = [(32, 32), (57, 41), (20, 131), (333, 64), (90, 90), (33, 47)]
    paths = [folder / f"{width}x{height}.png" for width, height in sizes]
    for seed, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        picture(seed, *size).save(path)
    return paths


@pytest.mark.parametrize("kind", ["open_clip-clip", "open_clip-siglip"])
@pytest.mark.parametrize("templates", TEMPLATES)
def test_weights_equal_open_clips_builder(kind: str, templates: str, get_encoder, model_folder):
    name = f"local-dir:{model_folder(kind)}"
    model, _ = open_clip.create_model_from_pretrained(name)
    model.eval()
    expected = open_clip.build_zero_shot_classifier(
        model, open_clip.get_tokenizer(name), NAMES, TEMPLATES[templates], num_classes_per_batch=3
    )
    classifier = vlcls.build_classifier(NAMES, get_encoder(kind), templates, clean_names=False, cache=False)
    found = classifier.zero_shot_weights
    assert len(classifier.prompts) == len(NAMES) * len(TEMPLATES[templates])
    assert found.shape == expected.T.shape
    assert (found - expected.T).abs().max() <= 1e-5
    assert (expected.T[0] - expected.T[1]).abs().max() > 1e-3  # else the comparison says nothing


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_probabilities_and_logits_equal_the_transformers_pipeline(
    family: str, get_encoder, model_folder, odd_photos: list[Path]
):
    from transformers import pipeline

    pipe = pipeline("zero-shot-image-classification", model=str(model_folder(f"hf-{family}")), device="cpu")
    encoder = get_encoder(f"hf-{family}")
    classifier = as_published(NAMES, encoder, "a photo of a {}.")
    found = classifier.predict(odd_photos, top_k=len(NAMES), batch_size=4, cache=False)
    assert [item.image for item in found] == [str(path) for path in odd_photos]
    own: list[torch.Tensor] = []
    for path, ours in zip(odd_photos, found, strict=True):
        image = Image.open(path)
        theirs = pipe(image, candidate_labels=NAMES, hypothesis_template="a photo of a {}.")
        expected = {entry["label"]: entry["score"] for entry in theirs}
        assert {p.label: p.score for p in ours.top_k} == pytest.approx(expected, abs=1e-4, rel=0)
        assert [p.score for p in ours.top_k] == sorted((p.score for p in ours.top_k), reverse=True)
        logits = own_logits(pipe, image)
        own.append(logits)
        embedding = encoder.encode_images(encoder.preprocess(image)[None])
        assert (classifier.scores(embedding)[0] - logits).abs().max() <= 1e-3
    assert torch.stack(own).std(0).max() > 1e-2  # a model blind to images would pass all of the above


@torch.no_grad()
def own_logits(pipe: Any, image: Image.Image) -> torch.Tensor:
    siglip = pipe.model.config.model_type == "siglip"
    texts = pipe.tokenizer(
        [f"a photo of a {name}." for name in NAMES],
        padding="max_length" if siglip else True,
        max_length=64 if siglip else None,
        truncation=siglip,
        return_tensors="pt",
    )
    pixels = pipe.image_processor(images=image, return_tensors="pt")
    logits: torch.Tensor = pipe.model(**texts, **pixels).logits_per_image[0]
    return logits


@pytest.mark.parametrize("kind", ["open_clip-clip", "open_clip-siglip"])
def test_scores_equal_a_slow_loop(kind: str, get_encoder, model_folder, odd_photos: list[Path]):
    """Normalise each text, mean over templates, normalise again, scaled cosine plus bias; by hand."""
    name = f"local-dir:{model_folder(kind)}"
    model, transform = open_clip.create_model_from_pretrained(name)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    templates = ["a photo of the {}.", "{}", "itap of my {}."]
    scale = math.exp(model.logit_scale.item())
    bias = 0.0 if kind == "open_clip-clip" else -10.0
    images = [Image.open(path) for path in odd_photos]

    def unit(vector: list[float]) -> list[float]:
        length = math.sqrt(sum(x * x for x in vector))
        return [x / length for x in vector]

    expected = []
    with torch.no_grad():
        weights = []
        for label in NAMES:
            rows = [unit(model.encode_text(tokenizer([t.format(label)]))[0].tolist()) for t in templates]
            weights.append(unit([sum(column) / len(rows) for column in zip(*rows, strict=True)]))
        for image in images:
            x = unit(model.encode_image(transform(image)[None])[0].tolist())
            expected.append([scale * sum(a * b for a, b in zip(x, w, strict=True)) + bias for w in weights])
    encoder = get_encoder(kind)
    classifier = as_published(NAMES, encoder, templates)
    embeddings = encoder.encode_images(torch.stack([encoder.preprocess(image) for image in images]))
    wanted = torch.tensor(expected, dtype=torch.float64)
    assert (classifier.scores(embeddings).double() - wanted).abs().max() <= 1e-4
    probabilities = wanted.softmax(-1) if kind == "open_clip-clip" else wanted.sigmoid()
    assert (classifier.probabilities(embeddings).double() - probabilities).abs().max() <= 1e-4


def test_repeating_every_text_of_a_class_changes_nothing(clip: Encoder):
    """Invariant 1 of renormalised means; the copies are real prompts, not merged away."""
    once = as_published(NAMES, clip, ["a photo of the {}.", "{}"])
    twice = as_published(NAMES, clip, ["a photo of the {}.", "{}"] * 2)
    assert len(twice.prompts) == 2 * len(once.prompts)
    assert (once.zero_shot_weights - twice.zero_shot_weights).abs().max() <= 1e-6
