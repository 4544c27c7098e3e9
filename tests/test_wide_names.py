"""Names that take too much of a mixed set: the measure by loops, hubs that are found, right names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlcls.classifiers import wide_names as module
from vlcls.classifiers.base import Prediction
from vlcls.classifiers.vocabulary_free import Naming
from vlcls.classifiers.wide_names import NameSpread, Watched, WideName


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def looks(counts: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of several kinds of things, and which kind each is of."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(64, 64)))[0][: len(counts)]  # all equally unlike
    kinds = np.repeat(np.arange(len(counts)), counts)
    return unit(centres[kinds] + 0.05 * rng.normal(size=(len(kinds), 64))), kinds


def spread_of(rows: np.ndarray, names: list[str | None]) -> NameSpread:
    spread = NameSpread()
    for start in range(0, len(rows), 7):  # as batches come
        spread.add(rows[start : start + 7], names[start : start + 7])
    return spread


@pytest.mark.parametrize("hub", [3, 4, 5])
@pytest.mark.parametrize("seed", range(3))
def test_a_name_of_several_kinds_is_wide(hub: int, seed: int):
    rows, kinds = looks((12,) * 8, seed)
    names = ["sailing" if kind < hub else f"name {kind}" for kind in kinds]
    (found,) = spread_of(rows, list(names)).wide()
    assert (found.name, found.images, found.of) == ("sailing", 12 * hub, 96)
    assert found.kinds == pytest.approx(hub, rel=0.35)
    assert f"“sailing” is the name of {12 * hub} of 96 images, which look like about " in str(found)


@pytest.mark.parametrize("counts", [(12,) * 8, (80, 12, 12), (40, 5, 5, 5), (20, 20), (30, 1, 1, 1, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_names_that_are_right_are_not_wide(counts: tuple[int, ...], seed: int):
    """Also where most images are of one kind."""
    rows, kinds = looks(counts, seed)
    assert spread_of(rows, [f"name {kind}" for kind in kinds]).wide() == []


def test_names_at_random_are_wide():
    rows, kinds = looks((12,) * 8)
    rng = np.random.default_rng(0)
    names = [
        "hub" if at_random < 0.5 else f"name {kind}"
        for at_random, kind in zip(rng.random(96), kinds, strict=True)
    ]
    (found,) = spread_of(rows, names).wide()
    assert found.name == "hub" and found.kinds > 5


def test_a_share_that_the_other_names_do_not_have_is_said():
    """Where looks tell nothing: half of the images one name, the others many (PACS sketches: "hook")."""
    rows = unit(np.random.default_rng(0).normal(size=(84, 8)) * 0.01 + 1)  # all alike
    names = ["hook"] * 39 + [f"name {number % 20}" for number in range(45)]
    (found,) = spread_of(rows, names).wide()
    even = 1 / (1 + 45**2 / sum(names.count(each) ** 2 for each in set(names) - {"hook"}))
    assert found.name == "hook" and found.times == pytest.approx(39 / 84 / even) and not found.looks_wide
    assert "“hook” is the name of 39 of 84 images, 9 times an even share among so many names" in str(found)
    # A class of half of the images beside three others is none.
    names = ["dog"] * 42 + ["cat"] * 14 + ["owl"] * 14 + ["bee"] * 14
    assert spread_of(rows, names).wide() == []


def test_without_other_names_there_is_no_measure():
    rows, _ = looks((30, 2))
    (found,) = spread_of(rows, ["x"] * 32).wide()
    assert found == WideName("x", 32, 32, None) and "if they show different things" in str(found)
    (found,) = spread_of(rows, ["x"] * 30 + ["y", "z"]).wide()
    assert found.kinds is found.times is None and found.images == 30
    assert (
        spread_of(rows, ["x"] * 25 + ["y"] * 3 + ["z"] * 4).wide() == []
    )  # neither nearly all nor measurable
    assert spread_of(rows[:9], ["x"] * 9).wide() == [] == NameSpread().wide()
    assert spread_of(rows, [None] * 32).wide() == []


@given(st.lists(st.sampled_from([*"abc", None]), min_size=1, max_size=40), st.integers(0, 1000))
def test_the_measure_against_loops(names: list[str | None], seed: int):
    rows = unit(np.random.default_rng(seed).normal(size=(len(names), 3)) + 1)
    pairs: dict[tuple[str, str], list[float]] = {}
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            if i != j and one is not None and other is not None:
                pairs.setdefault((one, other), []).append(float(rows[i] @ rows[j]))
    known = sorted({name for name in names if name is not None})
    apart = [value for (one, other), own in pairs.items() if one != other for value in own]
    within = {name: np.mean(pairs[name, name]) for name in known if (name, name) in pairs}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("LEAST_IMAGES", 2),
            ("LEAST_SHARE", 0.0),
            ("LEAST_KINDS", -1e9),
            ("_NEARLY_ALL", 2),
        ):
            patch.setattr(module, name, value)
        found = {each.name: each.kinds for each in spread_of(rows, names).wide()}
    wanted = {}
    for name in within:
        others = [other for other in within if other != name]
        if not others or not apart:
            continue
        weights = [names.count(other) for other in others]
        alike = np.average([within[other] for other in others], weights=weights) - np.mean(apart)
        own = within[name] - np.mean(apart)
        if alike > 1e-9 and abs(own) > 1e-9:
            wanted[name] = alike / own if own > 0 else np.inf
    for name, kinds in wanted.items():
        assert found[name] == pytest.approx(kinds, rel=1e-6)


def test_a_watched_method_counts_what_it_names():
    rows, kinds = looks((12,) * 8)

    class Method:
        encoder = None

        def __call__(self, images: torch.Tensor) -> list[Naming]:
            wide = [Prediction("sailing", 1.0, 0, "sailing")]
            return [
                Naming("", tuple(wide), fallback=kind == 7) if kind < 5 or kind == 7 else
                Naming("", (Prediction(f"name {kind}", 1.0, 0, f"name {kind}"),))
                for kind in kinds
            ]  # fmt: skip

    watched = Watched(Method())  # type: ignore[arg-type]
    found = watched(3 * torch.from_numpy(rows))
    assert len(found) == 96 and watched.encoder is None
    (wide,) = watched.spread.wide()
    assert (wide.name, wide.images, wide.of) == ("sailing", 60, 84)  # what is no name counts for nothing
