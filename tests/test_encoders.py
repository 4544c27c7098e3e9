"""Every family of encoder against the model's own library code.

`own_*` below is the independent reference: the library's model, tokenizer and preprocessing, loaded a second
time, used as its documentation says, at full length and without anything of vlcls.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import MODELS
from PIL import Image

from vlcls.encoders import Encoder, load_encoder
from vlcls.errors import EncoderError, VlclsWarning

# The longest of these is too long for the smallest context: that it is said is tested where it is meant.
pytestmark = pytest.mark.filterwarnings("ignore:.*were cut:vlcls.errors.VlclsWarning")

TEXTS = [
    "a photo of a cat.",
    "dog",
    "a photo of the small red dog of the large green horse, a photo of a person",
    "a photo of a cat.",
    "",
    "Elephant",
    "dog",
]
CAUSAL = ("open_clip-clip", "hf-clip", "hf-clipseg")
READS_PADDING = ("open_clip-siglip", "hf-siglip", "hf-siglip2")
ODD_SIZES = [(40, 30), (31, 67), (200, 45), (32, 32), (7, 90), (3, 50), (50, 3), (1, 1)]


class OwnModel:
    """The reference: one interface over the two libraries."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.is_open_clip = kind.startswith("open_clip")
        if self.is_open_clip:
            import open_clip

            self.model, self.transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
            self.tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        else:
            from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

            self.model = AutoModel.from_pretrained(folder)
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.processor = AutoImageProcessor.from_pretrained(folder)
        self.model.eval()

    def tokens(self, texts: Sequence[str]) -> Any:
        if self.is_open_clip:
            return self.tokenizer(list(texts))
        length = self.tokenizer.model_max_length
        return self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        if self.is_open_clip:
            return F.normalize(self.model.encode_text(self.tokens(texts)), dim=-1)
        return F.normalize(self.model.get_text_features(**self.tokens(texts)).pooler_output, dim=-1)

    def pixels(self, image: Image.Image) -> torch.Tensor:
        if self.is_open_clip:
            return self.transform(image)
        return self.processor(images=image, return_tensors="pt")["pixel_values"][0]

    @torch.no_grad()
    def images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        pixels = torch.stack([self.pixels(image) for image in images])
        if self.is_open_clip:
            return F.normalize(self.model.encode_image(pixels), dim=-1)
        return F.normalize(self.model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)

    @torch.no_grad()
    def logits(self, images: Sequence[Image.Image], texts: Sequence[str]) -> torch.Tensor:
        pixels = torch.stack([self.pixels(image) for image in images])
        if self.is_open_clip:
            return self.model.get_logits(pixels, self.tokens(texts))[0]
        return self.model(pixel_values=pixels, **self.tokens(texts)).logits_per_image


@pytest.fixture(scope="module")
def own(model_folder: Callable[[str], Path]) -> Callable[[str], OwnModel]:
    return lru_cache(maxsize=None)(lambda kind: OwnModel(kind, model_folder(kind)))


@pytest.fixture(scope="module")
def images(picture: Callable[..., Image.Image]) -> list[Image.Image]:
    return [picture(seed, *size) for seed, size in enumerate(ODD_SIZES)]


@pytest.fixture
def lookups(request: pytest.FixtureRequest) -> Callable[[Encoder], list[torch.Size]]:
    """Shapes [B, L] of everything that an encoder's text tower looks up from now on."""

    def watch(encoder: Encoder) -> list[torch.Size]:
        shapes: list[torch.Size] = []
        hook = encoder.token_table.register_forward_hook(lambda _m, args, _o: shapes.append(args[0].shape))
        request.addfinalizer(hook.remove)
        return shapes

    return watch


def close(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


# ---- texts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_texts_equal_the_models_own(kind: str, get_encoder, own):
    encoder, expected = get_encoder(kind), own(kind).texts(TEXTS)
    found = encoder.encode_texts(TEXTS)
    assert found.dtype == torch.float32
    assert found.shape == (len(TEXTS), encoder.embedding_dim)
    assert close(found, expected) <= 1e-5
    assert (expected[0] - expected[1]).abs().max() > 1e-2  # else the comparison says nothing
    # Batches of one or two texts: sorted by length inside, in the given order outside.
    assert close(encoder.encode_texts(TEXTS, tokens_per_batch=20), expected) <= 1e-5


@pytest.mark.parametrize("kind", MODELS)
def test_each_distinct_text_is_encoded_once_and_cut_where_it_may_be(kind: str, get_encoder, lookups):
    encoder = get_encoder(kind)
    shapes, done = lookups(encoder), []
    encoder.encode_texts(TEXTS, tokens_per_batch=40, progress=done.append)
    assert sum(batch for batch, _ in shapes) == len(set(TEXTS))
    assert sum(done) == len(TEXTS)
    lengths = [length for _, length in shapes]
    if kind in READS_PADDING:
        assert set(lengths) == {encoder.context_length}
    else:
        assert max(lengths) < encoder.context_length
        assert min(lengths) <= 5 < max(lengths)
        assert all(batch * length <= 40 or batch == 1 for batch, length in shapes)


@pytest.mark.parametrize("kind", MODELS)
def test_no_texts(kind: str, get_encoder):
    encoder = get_encoder(kind)
    assert encoder.encode_texts([]).shape == (0, encoder.embedding_dim)


@pytest.mark.parametrize("kind", MODELS)
def test_long_texts_are_cut_as_the_tokenizer_cuts_with_one_warning(kind: str, get_encoder, own):
    encoder = get_encoder(kind)
    texts = ["a cat", "dog " * 100 + "end", "horse " * 99, "dog " * 100 + "end"]
    with pytest.warns(VlclsWarning) as caught:
        found = encoder.encode_texts(texts)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "2 of 3 texts" in message and str(encoder.context_length) in message
    assert "'dog dog" in message and "'horse horse" in message and "a cat" not in message
    assert close(found, own(kind).texts(texts)) <= 1e-5


@pytest.mark.parametrize("kind", ["open_clip-clip", "open_clip-siglip", "hf-clip"])
def test_a_text_that_just_fits_is_not_warned_about(kind: str, get_encoder):
    encoder = get_encoder(kind)
    fits = " ".join(["dog"] * (encoder.context_length - 2))  # one place each for start and end
    with warnings.catch_warnings():
        warnings.simplefilter("error", VlclsWarning)
        encoder.encode_texts([fits])
    with pytest.warns(VlclsWarning, match="1 of 1"):
        encoder.encode_texts([fits + " dog"])


@pytest.mark.parametrize("kind", MODELS)
def test_token_embeddings_give_what_their_text_gives(kind: str, get_encoder):
    encoder = get_encoder(kind)
    distinct = list(dict.fromkeys(TEXTS))
    tokens = encoder.tokenize(distinct)
    found = encoder.encode_token_embeddings(encoder.embed_tokens(tokens.ids), tokens)
    assert close(found, encoder.encode_texts(distinct)) <= 1e-5
    assert not encoder.token_table._forward_hooks


@pytest.mark.parametrize("kind", MODELS)
def test_token_embeddings_decide_not_the_ids(kind: str, get_encoder):
    """The words of one text in the places of another: what learned class names will do."""
    encoder = get_encoder(kind)
    cat, dog = encoder.tokenize(["a photo of a cat."]), encoder.tokenize(["a photo of a dog."])
    if cat.ids.shape != dog.ids.shape:
        pytest.skip("the tokenizer of this kind splits the two words into different numbers of pieces")
    expected = encoder.encode_texts(["a photo of a cat."])
    found = encoder.encode_token_embeddings(encoder.embed_tokens(cat.ids), dog)
    assert close(found, expected) <= 1e-5
    assert close(encoder.encode_texts(["a photo of a dog."]), expected) > 1e-3


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_reach_the_token_embeddings(kind: str, get_encoder):
    encoder = get_encoder(kind)
    tokens = encoder.tokenize(["a photo of a cat."])
    rows = encoder.embed_tokens(tokens.ids).clone().requires_grad_(True)
    direction = torch.randn(1, encoder.embedding_dim, generator=torch.Generator().manual_seed(0))
    (encoder.encode_token_embeddings(rows, tokens) * direction).sum().backward()
    gradient = rows.grad
    assert gradient is not None and gradient.isfinite().all() and gradient[0, 1].abs().max() > 0
    assert all(parameter.grad is None for parameter in encoder.modules.parameters())
    # Against a central difference along the gradient itself.
    step = 1e-3 * gradient / gradient.norm()
    with torch.no_grad():
        after, before = (
            float((encoder.encode_token_embeddings(rows + sign * step, tokens) * direction).sum())
            for sign in (1, -1)
        )
    assert (after - before) / 2e-3 == pytest.approx(float(gradient.norm()), rel=0.05)


def test_token_embeddings_of_another_shape_are_refused(clip: Encoder):
    tokens = clip.tokenize(["a cat"])
    rows = clip.embed_tokens(tokens.ids)
    with pytest.raises(EncoderError, match="shape"):
        clip.encode_token_embeddings(rows[:, :-1], tokens)
    assert not clip.token_table._forward_hooks


# ---- images --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_pixels_that_reach_the_tower_equal_the_models_own(kind: str, get_encoder, own, images, monkeypatch):
    encoder, seen = get_encoder(kind), []
    monkeypatch.setattr(
        encoder, "image_features", lambda pixels: seen.append(pixels) or torch.ones(len(pixels), 2)
    )
    for image in images:
        pixels = encoder.preprocess(image)
        assert tuple(pixels.shape) == (3, *encoder.image_size)
        assert kind == "hf-align" or pixels.dtype == torch.uint8
        encoder.encode_images(pixels[None])
        assert close(seen.pop()[0], own(kind).pixels(image)) <= 1e-6


@pytest.mark.parametrize("kind", MODELS)
def test_image_embeddings_and_logits_equal_the_models_own(kind: str, get_encoder, own, images):
    encoder = get_encoder(kind)
    found = encoder.encode_images(torch.stack([encoder.preprocess(image) for image in images]))
    assert found.dtype == torch.float32 and found.shape == (len(images), encoder.embedding_dim)
    expected = own(kind).images(images)
    assert close(found, expected) <= 1e-5
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    texts = encoder.encode_texts(TEXTS)
    logits = encoder.logit_scale * found @ texts.T + encoder.logit_bias
    assert close(logits, own(kind).logits(images, TEXTS)) <= 1e-4
    assert encoder.activation == ("sigmoid" if kind in READS_PADDING else "softmax")
    assert (encoder.logit_bias != 0) == (kind in READS_PADDING)


@pytest.mark.parametrize("kind", ["open_clip-clip", "hf-siglip"])
def test_float_pixels_are_taken_as_normalised(kind: str, get_encoder, own, images):
    encoder = get_encoder(kind)
    pixels = torch.stack([own(kind).pixels(image) for image in images])
    assert close(encoder.encode_images(pixels), own(kind).images(images)) <= 1e-5


# ---- precision ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["open_clip-clip", "open_clip-siglip", "hf-clip", "hf-siglip", "hf-altclip"])
def test_bf16_differs_by_rounding_only(kind: str, get_encoder, model_spec, images):
    full, half = get_encoder(kind), load_encoder(model_spec(kind), "cpu", "bf16")
    assert half.precision == "bf16"
    pixels = torch.stack([full.preprocess(image) for image in images])
    for found, expected in (
        (half.encode_texts(TEXTS), full.encode_texts(TEXTS)),
        (half.encode_images(pixels), full.encode_images(pixels)),
    ):
        assert found.dtype == torch.float32
        assert not torch.equal(found, expected)  # else nothing ran in bf16
        assert ((found * expected).sum(1) > 0.99).all()
        assert torch.allclose(found.norm(dim=1), torch.ones(len(found)), atol=1e-5)
