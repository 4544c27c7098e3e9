"""Doubly right: the quadrants by hand and by a slow loop; the search in blocks against one big product."""

import hashlib
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlcls.errors import EvaluationError, VlclsWarning
from vlcls.evaluation import (
    DoublyRight,
    RationaleTexts,
    doubly_right,
    estimate_search,
    quadrants,
    search_rationales,
)
from vlcls.evaluation.metrics.rationale_search import _State
from vlcls.evaluation.metrics.rationales import QUADRANTS

# ---- quadrants -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("top", "expected", "legacy"),
    [
        ("Ar Ax By Bz Aq", "RR", "RR"),
        ("Ax Ay Az Bx Br", "RW", "RW"),
        ("Br By Bz Ax Ay", "WR", "WR"),
        ("Bx By Bz Ax Ay", "WW", "WW"),
        ("Bx By Ar Aq Az", "RR", "WW"),
    ],
)
def test_quadrants_by_hand(top, expected, legacy):
    texts = top.split()
    pairs = [["AB".index(text[0]) for text in texts]], [["rqxyz".index(text[1]) for text in texts]]
    assert QUADRANTS[quadrants(*pairs, [0], [0])[0]] == expected
    assert QUADRANTS[quadrants(*pairs, [0], [0], legacy=True)[0]] == legacy


def by_a_loop(categories, rationales, category, rationale, legacy):
    """One image, word by word as the definition has it."""
    pairs = [pair for pair in zip(categories, rationales, strict=True) if pair[0] >= 0]
    voting = pairs
    if legacy and (category, rationale) in pairs:
        voting = pairs[: pairs.index((category, rationale)) + 1]
    votes = Counter(c for c, _ in voting)
    predicted = max(votes, key=lambda c: votes[c])  # of equal ones the first that was counted
    return ("R" if predicted == category else "W") + ("R" if (predicted, rationale) in pairs else "W")


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=5, unique=True),
            st.integers(0, 2), st.integers(0, 2),
        ),
        min_size=1, max_size=6,
    ),
    st.booleans(),
)  # fmt: skip
def test_quadrants_are_those_of_a_loop_and_add_up_to_1(images, legacy):
    filled = [top + [(-1, -1)] * (5 - len(top)) for top, _, _ in images]
    categories, rationales = np.array(filled).transpose(2, 0, 1)
    truth = [c for _, c, _ in images], [r for _, _, r in images]
    expected = [by_a_loop(*columns, legacy) for columns in zip(categories, rationales, *truth, strict=True)]
    found = quadrants(categories, rationales, *truth, legacy=legacy)
    assert [QUADRANTS[place] for place in found] == expected
    counts = doubly_right(categories, rationales, *truth, legacy=legacy)
    parts = {name: counts.part(name).value for name in QUADRANTS}
    assert counts.images == len(images) and sum(parts.values()) == pytest.approx(1)
    assert counts.accuracy.value == pytest.approx(parts["RR"] + parts["RW"])
    assert [expected.count(name) for name in QUADRANTS] == [counts.RR, counts.RW, counts.WR, counts.WW]


def test_quadrants_as_json():
    plain = json.loads(json.dumps(DoublyRight(1, 2, 3, 4).to_json()))
    assert plain["images"] == 10 and plain["RR"]["value"] == 0.1 and plain["accuracy"]["value"] == 0.3
    assert DoublyRight(0, 0, 0, 0).part("RR") is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([[0, 1]], [[0]], [0], [0]), r"must be \[images, texts\]"),
        (([[0]], [[0]], [0, 1], [0]), "one each for every image"),
        (([[-1]], [[-1]], [0], [0]), "at least one nearest text"),
    ],
)
def test_bad_quadrants(columns, message):
    with pytest.raises(EvaluationError, match=message):
        quadrants(*columns)


# ---- texts ---------------------------------------------------------------------------------------------

RATIONALES = {"cat": ["fur", "four legs"], "dog": ["four legs", "a tail"], "a {rationale} fish": ["fins"]}


def test_texts_by_hand():
    texts = RationaleTexts.of(RATIONALES)
    assert texts.rationales == ("fur", "four legs", "a tail", "fins")  # "four legs" once
    assert len(texts) == 12 and len(texts.block(10, 99)) == 2
    assert texts.block(5, 7) == [
        "This is a photo of a dog because there is four legs",
        "This is a photo of a dog because there is a tail",
    ]
    assert texts.block(11, 12) == ["This is a photo of a a {rationale} fish because there is fins"]
    assert texts.truth([("dog", "a tail"), ("cat", "fur")]) == ([1, 0], [2, 0])
    with pytest.raises(EvaluationError, match="image 0: 'cow' is no category"):
        texts.truth([("cow", "fur")])
    with pytest.raises(EvaluationError, match="each rationale must be there once"):
        RationaleTexts(("a",), ("b", "b"))
    with pytest.raises(EvaluationError, match=r"needs .category. and .rationale."):
        RationaleTexts(("a",), ("b",), "{category}")


# ---- search --------------------------------------------------------------------------------------------

DIM = 16
TEXTS = RationaleTexts(tuple(f"c{n}" for n in range(23)), tuple(f"r{n}" for n in range(41)))


class Hashed:
    """A text tower that needs no model: a vector of 1/4 and -1/4 for each text. Cosines are multiples of 1/8,
    exact in float32, and very often equal."""

    def __init__(self, stop_after=None):
        self.seen, self.stop_after = [], stop_after

    def __call__(self, texts):
        if self.stop_after is not None and len(self.seen) >= self.stop_after:
            raise KeyboardInterrupt
        self.seen += texts
        digests = [hashlib.sha256(text.encode()).digest()[:2] for text in texts]
        bits = np.unpackbits(np.array([list(digest) for digest in digests], dtype=np.uint8), axis=1)
        return torch.from_numpy(bits).float() / 2 - 0.25


def some_images(count=37):
    return Hashed()([f"image {n}" for n in range(count)])


@pytest.mark.parametrize("block", [1, 50, 943, 5000])
def test_blocks_find_what_one_table_finds(block, monkeypatch):
    monkeypatch.setattr("vlcls.evaluation.metrics.rationale_search._ENTRIES_AT_ONCE", 2000)
    images, encode, steps = some_images(), Hashed(), []
    found = search_rationales(images, TEXTS, encode, block=block, progress=steps.append)
    assert encode.seen == TEXTS.block(0, len(TEXTS)) and sum(steps) == len(TEXTS)
    table = (images @ Hashed()(encode.seen).T).numpy()
    order = np.argsort(-table, axis=1, kind="stable")[:, :5]
    assert (found.similarities.numpy() == np.take_along_axis(table, order, 1)).all()
    places = found.categories * len(TEXTS.rationales) + found.rationales
    assert (places.numpy() == order).all()
    assert (found.similarities.diff(dim=1) == 0).any()  # there were ties to break


def test_fewer_texts_than_places():
    texts = RationaleTexts(("a", "b"), ("x",))
    found = search_rationales(some_images(3), texts, Hashed(), top_k=5, block=1)
    assert (found.categories[:, 2:] == -1).all() and (found.rationales[:, 2:] == -1).all()
    assert found.categories[:, :2].sort(1).values.tolist() == [[0, 1]] * 3
    assert doubly_right(found.categories, found.rationales, [0] * 3, [0] * 3).images == 3


def test_a_search_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("vlcls.evaluation.metrics.rationale_search._SAVE_SECONDS", 0.0)
    images, options = some_images(), {"block": 100, "fingerprint": "f", "folder": tmp_path}
    whole = search_rationales(images, TEXTS, Hashed(), block=100)
    for stop in (200, 300):  # twice
        with pytest.raises(KeyboardInterrupt):
            search_rationales(images, TEXTS, Hashed(stop), **options)
    last, steps = Hashed(), []
    found = search_rationales(images, TEXTS, last, **options, progress=steps.append)
    assert last.seen == TEXTS.block(500, len(TEXTS)) and steps[0] == 500 and sum(steps) == len(TEXTS)
    for name, tensor in vars(whole).items():
        assert torch.equal(tensor, getattr(found, name))
    again = Hashed()
    search_rationales(images, TEXTS, again, **options)
    assert not again.seen  # done is done
    # Whatever else there is to search for has a state of its own.
    for changed in ({"fingerprint": "g"}, {"top_k": 4}):
        other = Hashed()
        search_rationales(images, TEXTS, other, **options | changed)
        assert len(other.seen) == len(TEXTS)
    other = Hashed()
    search_rationales(images[:5], TEXTS, other, **options)
    assert len(other.seen) == len(TEXTS)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_state_costs_a_new_search(tmp_path):
    images = some_images()
    search_rationales(images, TEXTS, Hashed(), folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:40])
    encode = Hashed()
    with pytest.warns(VlclsWarning, match="is damaged"):
        search_rationales(images, TEXTS, encode, folder=tmp_path)
    assert len(encode.seen) == len(TEXTS)


@pytest.mark.parametrize(
    "change", ["other images", "more found", "no such text", "nan", "other numbers", "beyond"]
)
def test_a_state_that_fits_its_hash_and_not_its_search_costs_a_new_one(change: str, tmp_path):
    images = some_images()
    wanted = search_rationales(images, TEXTS, Hashed(), folder=tmp_path)
    (path,) = tmp_path.iterdir()
    state = _State.read(path, wanted.similarities.shape, len(TEXTS))
    assert state is not None
    values, places, done = state.values, state.places, state.done
    changed = {
        "other images": _State(done, values[1:], places[1:]),
        "more found": _State(done, torch.cat([values, values], 1), torch.cat([places, places], 1)),
        "no such text": _State(done, values, places + len(TEXTS)),
        "nan": _State(done, values * torch.nan, places),
        "other numbers": _State(done, values.double(), places),
        "beyond": _State(len(TEXTS) + 1, values, places),
    }[change]
    changed.write(path)
    encode = Hashed()
    with pytest.warns(VlclsWarning, match="is damaged"):
        found = search_rationales(images, TEXTS, encode, folder=tmp_path)
    assert len(encode.seen) == len(TEXTS) and torch.equal(found.similarities, wanted.similarities)


def test_an_estimate_first():
    encode = Hashed()
    found = estimate_search(some_images(), TEXTS, encode, probe=50)
    assert found.texts == len(TEXTS) == 943 and len(encode.seen) == 100 and found.seconds > 0
    assert len({text.split(" because ")[0] for text in encode.seen}) > 20  # spread over the categories
    imagenet = RationaleTexts(tuple(map(str, range(1000))), tuple(map(str, range(5800))))
    assert estimate_search(some_images(), imagenet, encode, probe=5).texts == 5_800_000


def test_errors_of_a_search():
    with pytest.raises(EvaluationError, match="16 wide, text embeddings"):
        search_rationales(some_images(), TEXTS, lambda texts: torch.ones(len(texts), 3))
    with pytest.raises(EvaluationError, match="texts 0 to 943 is not finite"):
        search_rationales(some_images(), TEXTS, lambda texts: torch.full((len(texts), DIM), torch.nan))
    with pytest.raises(EvaluationError, match="top_k"):
        search_rationales(some_images(), TEXTS, Hashed(), top_k=0)
    with pytest.raises(EvaluationError, match="block"):
        search_rationales(some_images(), TEXTS, Hashed(), block=0)


def test_a_real_encoder(clip, tmp_path):
    texts = RationaleTexts.of(RATIONALES)
    images = clip.encode_images(torch.rand(6, 3, 32, 32))
    found = search_rationales(
        images, texts, clip.encode_texts, fingerprint=clip.fingerprint, folder=tmp_path, block=5
    )
    table = images @ clip.encode_texts(texts.block(0, 12)).T
    places = found.categories * 4 + found.rationales
    assert torch.allclose(found.similarities, table.gather(1, places), atol=1e-5)
    assert torch.allclose(found.similarities, table.topk(5).values, atol=1e-5)


MEMORY = """
import resource, torch
from torch.nn.functional import normalize
from vlcls.evaluation import RationaleTexts, search_rationales

table = normalize(torch.randn(5000, 64), dim=1)
images = normalize(torch.randn(200, 64), dim=1)
for categories in (10, 400):
    texts = RationaleTexts(tuple(map(str, range(categories))), tuple(map(str, range(1000))))
    search_rationales(images, texts, lambda block: table[: len(block)])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts in KiB")
def test_memory_does_not_grow_with_texts():
    """40 times as many texts, 400 000 of them, take no more; their embeddings alone would be 100 MiB."""
    run = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    few, many = map(int, run.stdout.split())
    assert many - few < 30 << 10
