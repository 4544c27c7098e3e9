"""The nouns of WordNet behind ImageNet-21k: lemmas and glosses of 21,844 synsets, as timm ships them."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from vlcls.errors import VlclsError


def lemmas() -> dict[str, tuple[str, ...]]:
    """Synset id ("n02129604") to its lemmas ("tiger", "Panthera tigris"), in WordNet's order."""
    return {synset: tuple(text.split(", ")) for synset, text in _read("lemma").items()}


def glosses() -> dict[str, str]:
    """Synset id to its definition."""
    return _read("definition")


def synset_list(name: str) -> tuple[str, ...]:
    """The synsets of the classes of a data set in label order: "imagenet", "imagenet_a", "imagenet_r", ..."""
    return tuple(_lines(f"{name}_synsets.txt"))


@lru_cache(maxsize=2)
def _read(what: str) -> dict[str, str]:
    lines = _lines(f"imagenet_synset_to_{what}.txt")
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def _lines(file: str) -> list[str]:
    # The files are read without importing timm, which would import torch.
    found = find_spec("timm")
    if found is None or found.origin is None:
        raise VlclsError("WordNet's nouns come with timm, which is not installed: pip install timm")
    path = Path(found.origin).parent / "data" / "_info" / file
    return path.read_text(encoding="utf-8").splitlines()
