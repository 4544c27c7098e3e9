"""CaSED: the worked example, a slow loop that does the same, and what it does beyond the paper."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable
from pathlib import Path

import faiss
import inflect
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import vlcls
from vlcls.classifiers import cased as module
from vlcls.classifiers.candidates import hanta_tags
from vlcls.classifiers.cased import Cased, distinct_rows, mixed_votes
from vlcls.classifiers.vocabulary_free import ClosestCaption, FixedVocabulary, discover, vocabulary_of
from vlcls.classifiers.words import WordEmbeddings
from vlcls.encoders import Encoder
from vlcls.errors import EncoderMismatchError
from vlcls.retrieval import CaptionDatabase, DatabaseInfo, build_captions, open_captions
from vlcls.retrieval.builtin import wordnet_texts
from vlcls.retrieval.index import IndexInfo
from vlcls.store import EmbeddingStore

CAPTIONS = [
    *wordnet_texts()[::300],
    *(text.replace(" a ", " the ").replace("of", "in") for text in wordnet_texts()[::300]),  # close to these
    "a dog runs over green grass",
    "a dog runs over the green grass",
    "a dog runs over green grass.",
    "two brown dogs are running in a park",
    "photo of a red car (2012) parked_near a car.jpg",
    "<b>sale!</b> cheap cars http://cars.example/red",
    "tigers and a tiger",
    "on the of with",
]
CAPTIONS = list(dict.fromkeys(CAPTIONS))


@pytest.fixture(scope="module")
def images(clip: Encoder, photos: list[Path]) -> Tensor:
    from PIL import Image

    with torch.no_grad():
        return clip.encode_images(
            torch.stack([clip.preprocess(Image.open(path).convert("RGB")) for path in photos])
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, clip: Encoder) -> Path:
    path = tmp_path_factory.mktemp("captions") / "db"
    build_captions(CAPTIONS, path, clip, dtype="float32")
    return path


@pytest.fixture
def database(folder: Path, clip: Encoder) -> CaptionDatabase:
    return open_captions(folder, clip)


def made(captions: list[str], rows: Tensor, encoder: Encoder) -> CaptionDatabase:
    """A database of given embeddings."""
    vectors = F.normalize(rows.float(), dim=1).numpy()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    info = DatabaseInfo("", "", vectors.shape[1], "float32", len(captions), IndexInfo("Flat", None, 1.0))
    return CaptionDatabase("made", info, captions, index, [vectors])


# ---- the worked example ------------------------------------------------------------------------------------


def test_worked_fusion():
    z = F.normalize(torch.tensor([[1.0, 2, 2]]), dim=1)
    captions = F.normalize(torch.tensor([[0.0, 1, 1], [0, 0, 1]]), dim=1)
    c = F.normalize(torch.tensor([[0.0, 0, 1], [1, 1, 0], [0, 1, 1]]), dim=1)
    assert distinct_rows(captions.numpy()) == [0, 1]
    assert round(float(captions.mean(0).norm()), 4) == 0.9239
    t = F.normalize(captions.sum(0, keepdim=True), dim=1)
    assert t[0].tolist() == pytest.approx([0, 0.3827, 0.9239], abs=5e-5)
    assert (z @ c.T)[0].tolist() == pytest.approx([0.6667, 0.7071, 0.9428], abs=5e-5)
    assert (t @ c.T)[0].tolist() == pytest.approx([0.9239, 0.2706, 0.9239], abs=5e-5)
    everything = torch.ones(1, 3, dtype=torch.bool)
    wanted = {
        1.0: [0.0546, 0.0818, 0.8636],
        0.0: [0.4996, 0.0007, 0.4996],
        0.7: [0.1881, 0.0575, 0.7544],
        0.5: [0.2771, 0.0413, 0.6816],
    }
    for alpha, probabilities in wanted.items():
        found = mixed_votes(z, t, c, everything, 10.0, alpha)[0].tolist()
        assert found == pytest.approx(probabilities, abs=5e-5)


def test_other_images_candidates_are_masked():
    generator = torch.Generator().manual_seed(0)
    z, t, c = (F.normalize(torch.randn(n, 6, generator=generator), dim=1) for n in (2, 2, 5))
    mask = torch.tensor([[True, True, False, False, True], [False, False, True, True, False]])
    both = mixed_votes(z, t, c, mask, 20.0, 0.7)
    assert not both[~mask].any() and both.sum(1).tolist() == pytest.approx([1, 1])
    for row in range(2):
        own = mask[row]
        alone = mixed_votes(z[row : row + 1], t[row : row + 1], c[own], own[own][None], 20.0, 0.7)
        assert both[row, own].tolist() == pytest.approx(alone[0].tolist(), abs=1e-6)


def test_near_duplicates_are_groups_of_which_one_is_left():
    def at(*degrees):
        return np.array([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees], np.float32)

    # cos 19 = 0.9455 > 0.94 > cos 21 = 0.9336: a chain is one group, although its ends are far apart.
    assert distinct_rows(at(0, 19, 38, 90)) == [0, 3]
    assert distinct_rows(at(0, 21, 42, 90)) == [0, 1, 2, 3]
    assert distinct_rows(at(90, 0, 89, 19)) == [0, 1]  # the first of each is kept, in order
    assert distinct_rows(np.zeros((0, 2), np.float32)) == []


# ---- the slow loop -----------------------------------------------------------------------------------------


def plain_filter(captions: list[str]) -> list[str]:
    """Section 7.3 once more: loops over characters and words."""
    text = re.sub("http[^ \t\n]*", "", re.sub("<[^>]+>", "", " ".join(captions)))
    text = "".join(c for c in text if c.isalnum() or c.isspace() or c in "_-.'&")
    kept, position = "", 0
    while position < len(text):
        following = text[position + 1 : position + 2]
        if text[position] == "." and (following.isalnum() or following == "_"):
            position += 1
            while position < len(text) and (text[position].isalnum() or text[position] == "_"):
                position += 1
            continue
        kept += text[position]
        position += 1
    words = [word for word in kept.replace("_", " ").replace("-", " ").split() if len(word) >= 3]
    words = ["".join(c for c in word if c in string.ascii_letters).lower() for word in words]
    plural = inflect.engine()
    singulars = []
    for word in filter(None, words):
        stays = word[-2:] in ("ss", "us", "is") or word[-3:] in ("ies", "oes") or word[-1] != "s"
        singulars.append(word if stays else plural.singular_noun(word) or word)
    dropped = "image photo picture thumbnail logo symbol clipart portrait painting illustration icon profile"
    words = [word for word in singulars if word not in dropped.split()]
    most = max([words.count(word) for word in words], default=0)
    words = [word for word in words if words.count(word) >= min(2, most)]
    tags = hanta_tags(words) if words else []
    good = ("NN", "NNS", "NNP", "NNPS", "JJ", "JJR", "JJS", "VBG", "VBN")
    return sorted({word for word, tag in zip(words, tags, strict=True) if tag in good})


def plain_cased(
    z: list[float], captions: list[str], rows: list[list[float]],
    embed: Callable[[str], list[float]], scale: float, alpha: float,
) -> tuple[dict[str, float], list[str], bool]:  # fmt: skip
    """Section 7.2 in Python floats (float64): probabilities by candidate, captions used, fallback."""

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    def unit(a):
        length = math.sqrt(dot(a, a))
        return [x / length for x in a]

    def softmax(logits):
        exponents = [math.exp(logit - max(logits)) for logit in logits]
        return [value / sum(exponents) for value in exponents]

    nearest = sorted(range(len(rows)), key=lambda row: -dot(z, rows[row]))[:10]
    groups: list[set[int]] = []
    for row in nearest:
        near = [group for group in groups if any(dot(rows[row], rows[other]) > 0.94 for other in group)]
        groups = [group for group in groups if group not in near] + [{row}.union(*near)]
    used = [next(row for row in nearest if row in group) for group in groups]
    used.sort(key=nearest.index)
    t = unit([sum(rows[row][d] for row in used) / len(used) for d in range(len(z))])
    names = plain_filter([captions[row] for row in used])
    fallback = not names
    names = names or ["object"]
    vectors = [embed(name) for name in names]
    p_image = softmax([scale * dot(z, c) for c in vectors])
    p_text = softmax([scale * dot(t, c) for c in vectors])
    mixed = {n: alpha * a + (1 - alpha) * b for n, a, b in zip(names, p_image, p_text, strict=True)}
    return mixed, [captions[row] for row in used], fallback


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_equals_a_plain_float64_loop(alpha: float, clip: Encoder, images: Tensor, folder: Path):
    rows = [clip.encode_texts([text])[0].double().tolist() for text in CAPTIONS]
    words: dict[str, list[float]] = {}

    def embed(word: str) -> list[float]:
        if word not in words:
            words[word] = clip.encode_texts([word])[0].double().tolist()
        return words[word]

    found = Cased(folder, clip, alpha=alpha, cache=False)(images)
    dropped = 0
    for z, naming in zip(images.double().tolist(), found, strict=True):
        wanted, used, fallback = plain_cased(z, CAPTIONS, rows, embed, clip.logit_scale, alpha)
        assert {p.label: p.score for p in naming.candidates} == pytest.approx(wanted, abs=1e-5, rel=0)
        assert sum(p.score for p in naming.candidates) == pytest.approx(1, abs=1e-5)
        assert [caption.text for caption in naming.captions] == used
        assert naming.fallback == fallback
        assert naming.score == max(wanted.values()) or naming.score == pytest.approx(
            max(wanted.values()), abs=1e-5
        )
        dropped += 10 - len(used)
    assert dropped  # near-duplicates there were
    assert len({naming.label for naming in found}) > 1


def test_float16_databases_differ_by_their_rounding_alone(tmp_path: Path, clip: Encoder, images: Tensor):
    build_captions(CAPTIONS, tmp_path / "db", clip)
    half = open_captions(tmp_path / "db", clip)
    kept = half.embeddings(np.arange(len(CAPTIONS)))
    wanted = clip.encode_texts(CAPTIONS).numpy()
    assert kept is not None and (kept == wanted.astype(np.float16).astype(np.float32)).all()
    rows = F.normalize(torch.from_numpy(kept).double(), dim=1).tolist()

    def embed(word: str) -> list[float]:
        return clip.encode_texts([word])[0].double().tolist()

    for z, naming in zip(
        images[:8].double().tolist(), Cased(half, clip, cache=False)(images[:8]), strict=True
    ):
        loop, used, _ = plain_cased(z, CAPTIONS, rows, embed, clip.logit_scale, 0.7)
        assert {p.label: p.score for p in naming.candidates} == pytest.approx(loop, abs=1e-5, rel=0)
        assert {caption.text for caption in naming.captions} == set(used)


# ---- the rest ----------------------------------------------------------------------------------------------


def test_alpha_of_one_ignores_the_captions_but_for_the_candidates(clip: Encoder, images: Tensor, database):
    found = Cased(database, clip, alpha=1.0, cache=False)(images[:6])
    for z, naming in zip(images[:6], found, strict=True):
        names = sorted(p.label for p in naming.candidates)
        alone = FixedVocabulary(names, clip, top_k=99)(z[None])[0]
        assert [(p.label, p.score) for p in naming.candidates] == [
            (p.label, pytest.approx(p.score, abs=1e-5)) for p in alone.candidates
        ]


def test_an_image_without_a_name_gets_the_fallback_and_is_marked(clip: Encoder, images: Tensor):
    captions = ["the of and", "写真", "12 34", "<b></b>", "with them"]
    database = made(captions, torch.eye(5, 48), clip)
    found = Cased(database, clip, cache=False)(images[:2])
    for naming in found:
        assert [p.label for p in naming.candidates] == ["object"] and naming.fallback
        assert naming.score == pytest.approx(1)
        assert len(naming.captions) == 5
    assert vocabulary_of(found) == {}


def test_words_are_encoded_once(tmp_path: Path, clip: Encoder, images: Tensor, database, monkeypatch):
    seen: list[str] = []
    own = clip.encode_texts
    monkeypatch.setattr(clip, "encode_texts", lambda texts, **o: seen.extend(texts) or own(texts, **o))
    with Cased(database, clip, cache=tmp_path) as method:
        first = method(images[:32])
        assert len(seen) == len(set(seen)) == method.words.encoded == len(method.words) > 10
        count = len(seen)
        assert method(images[:32]) == first and len(seen) == count
        method(images)
        assert len(seen) == len(set(seen)) > count
    count = len(seen)
    with Cased(database, clip, cache=tmp_path) as again:  # from the store
        assert again(images[:32]) == first
        assert len(seen) == count and again.words.encoded == 0
    # What `embed_texts` stored is found, and the other way round.
    from vlcls.embeddings import embed_texts

    store = EmbeddingStore(tmp_path)
    embed_texts(["a new word", "object"], clip, store=store)
    words = WordEmbeddings(clip, store)
    rows = words(["object", "a new word", "object"])
    assert words.encoded == 0 and torch.equal(rows[0], rows[2])
    assert (rows - own(["object", "a new word", "object"])).abs().max() < 1e-5
    many = [f"word {number}" for number in range(700)]  # more than the table has room for
    assert (words(many)[[0, 300, 699]] - own([many[0], many[300], many[699]])).abs().max() < 1e-5
    assert (words(["object"]) - own(["object"])).abs().max() < 1e-5


def test_batches_do_not_change_results(clip: Encoder, photos: list[Path], database):
    method = Cased(database, clip, cache=False)
    one = list(discover(photos[:9], method, cache=False, batch_size=1))
    many = list(discover(photos[:9], method, cache=False, batch_size=9))
    for a, b in zip(one, many, strict=True):
        assert (a.image, a.captions[0].text) == (b.image, b.captions[0].text)
        assert {p.label: p.score for p in a.candidates} == pytest.approx(
            {p.label: p.score for p in b.candidates}, abs=1e-5
        )


def test_discover_reports_unreadable_images_and_goes_on(tmp_path: Path, clip, photos, database):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    found = list(discover([photos[0], bad, photos[1]], Cased(database, clip, cache=False), cache=False))
    assert [naming.image for naming in found] == [str(photos[0]), str(bad), str(photos[1])]
    assert found[1].error is not None and found[1].label is None and not found[1].candidates
    assert found[0].label is not None and found[2].label is not None
    (alone,) = discover([bad], Cased(database, clip, cache=False), cache=False)
    assert alone.error is not None


def test_hints_words_and_blocks(clip: Encoder, images: Tensor, database):
    plain = Cased(database, clip, cache=False)(images)
    names = {p.label for naming in plain for p in naming.candidates}
    some = sorted(names)[:5]
    blocked = Cased(database, clip, blocked=[f"{some[0]} {some[1]}"], cache=False)(images)
    assert not {p.label for naming in blocked for p in naming.candidates} & set(some[:2])
    only = Cased(database, clip, only=some, cache=False)(images)
    left = {p.label for naming in only if not naming.fallback for p in naming.candidates}
    assert left and left <= set(some)
    assert any(naming.fallback for naming in only)
    with pytest.raises(ValueError, match="alone may be found"):
        Cased(database, clip, only=["写真"], cache=False)

    hinted = Cased(database, clip, hint="a dog", cache=False)(images)
    hint = clip.encode_texts(["a dog"])[0]

    def nearness(namings):
        texts = [caption.text for naming in namings for caption in naming.captions]
        return float((clip.encode_texts(texts) @ hint).mean())

    assert nearness(hinted) > nearness(plain)
    for naming in hinted:  # as without a hint, the nearest to the image first
        found = [caption.similarity for caption in naming.captions]
        assert found == sorted(found, reverse=True)
    pool = Cased(database, clip, retrieved=10 * module.HINT_POOL, duplicate_above=2.0, cache=False)(images)
    alike = Cased(database, clip, hint="a dog", duplicate_above=2.0, cache=False)(images)
    for naming, wide in zip(alike, pool, strict=True):
        near = sorted(wide.captions, key=lambda c: -float(clip.encode_texts([c.text])[0] @ hint))[:10]
        assert {caption.text for caption in naming.captions} == {caption.text for caption in near}


def test_parameters_are_checked(clip: Encoder, siglip: Encoder, database):
    for wrong in ({"alpha": 1.1}, {"alpha": -0.1}, {"tau": 0.0}, {"retrieved": 0}):
        with pytest.raises(ValueError, match="alpha must be"):
            Cased(database, clip, **wrong)
    with pytest.raises(EncoderMismatchError, match="were embedded with"):
        Cased(database, siglip)
    with pytest.raises(EncoderMismatchError, match="were embedded with"):
        ClosestCaption(database, siglip)


def test_tau_divides_the_logit_scale(clip: Encoder, images: Tensor, database):
    sharp = Cased(database, clip, tau=0.1, cache=False)(images[:4])
    flat = Cased(database, clip, tau=1e6, cache=False)(images[:4])
    for a, b in zip(sharp, flat, strict=True):
        assert a.score >= b.score == pytest.approx(1 / len(b.candidates), abs=1e-3)


def test_a_database_without_embeddings_has_its_captions_encoded(clip: Encoder, images: Tensor, database):
    from dataclasses import replace

    bare = replace(database, blocks=None)
    for a, b in zip(
        Cased(bare, clip, cache=False)(images[:8]),
        Cased(database, clip, cache=False)(images[:8]),
        strict=True,
    ):
        assert {p.label: p.score for p in a.candidates} == pytest.approx(
            {p.label: p.score for p in b.candidates}, abs=1e-5
        )


def test_stored_embeddings_of_any_length_count_alike(clip: Encoder, images: Tensor, database):
    from dataclasses import replace

    rows = np.concatenate([np.asarray(block) for block in database.blocks])
    long = replace(database, blocks=[rows * (1 + np.arange(len(rows)) % 3)[:, None].astype(np.float32)])
    for a, b in zip(
        Cased(long, clip, cache=False)(images[:8]),
        Cased(database, clip, cache=False)(images[:8]),
        strict=True,
    ):
        assert [caption.text for caption in a.captions] == [caption.text for caption in b.captions]
        assert {p.label: p.score for p in a.candidates} == pytest.approx(
            {p.label: p.score for p in b.candidates}, abs=1e-5
        )


def test_the_closest_caption_as_a_name(clip: Encoder, images: Tensor, database):
    similarities = images @ clip.encode_texts(CAPTIONS).T
    for row, naming in enumerate(ClosestCaption(database, clip, retrieved=3)(images[:8])):
        values, places = similarities[row].topk(3)
        assert [p.label for p in naming.candidates] == [CAPTIONS[place] for place in places.tolist()]
        wanted = (clip.logit_scale * values).softmax(0).tolist()
        assert [p.score for p in naming.candidates] == pytest.approx(wanted, abs=1e-5)
        assert [c.similarity for c in naming.captions] == pytest.approx(values.tolist(), abs=1e-5)


def test_a_fixed_vocabulary_is_a_zero_shot_classifier_of_bare_names(clip: Encoder, images: Tensor):
    names = ["cat", "small dog", "tree"]
    classifier = vlcls.build_classifier(names, clip, "name", cache=False)
    wanted = classifier.predict(images[:8], top_k=2)
    for naming, result in zip(FixedVocabulary(names, clip, top_k=2)(images[:8]), wanted, strict=True):
        assert [p.label for p in naming.candidates] == [p.label for p in result.top_k]
        assert [p.score for p in naming.candidates] == pytest.approx(
            [p.score for p in result.top_k], abs=1e-5
        )
    assert len(FixedVocabulary(["cat", "cat", "dog"], clip).names) == 2


def test_the_vocabulary_of_many_images():
    from vlcls.classifiers.base import Prediction
    from vlcls.classifiers.vocabulary_free import Naming

    def named(name, **more):
        return Naming("x", (Prediction(name, 0.5, 0, name),), **more)

    namings = [named("owl"), named("dog"), named("dog"), named("cat"), named("object", fallback=True)]
    namings.append(Naming("bad", (), error="unreadable"))
    assert list(vocabulary_of(namings).items()) == [("dog", 2), ("cat", 1), ("owl", 1)]
    assert vocabulary_of(namings, 2) == {"dog": 2}


def test_sigmoid_models_vote_by_softmax_too(siglip: Encoder, tmp_path: Path, photos: list[Path]):
    build_captions(CAPTIONS, tmp_path / "db", siglip)
    found = list(discover(photos[:4], Cased(tmp_path / "db", siglip, cache=False), cache=False))
    assert all(sum(p.score for p in naming.candidates) == pytest.approx(1, abs=1e-5) for naming in found)
