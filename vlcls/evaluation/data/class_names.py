"""Class names of data sets: where they come from, and what may be wrong with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from vlcls import imagenet, wordnet
from vlcls.errors import LabelError
from vlcls.files.named import is_built_in
from vlcls.files.terminal import few
from vlcls.labels import Labels, as_labels, clean_name, read_labels

#: Lists of class names by name, and timm's list of the synsets that each is about, in label order.
CURATED = {"imagenet": "imagenet", "imagenet-a": "imagenet_a", "imagenet-r": "imagenet_r"}

#: Whatever says which classes there are: also the name of a curated list, or the path of a file of labels.
GivenLabels = Labels | Mapping[str, str] | Iterable[str] | str | Path

_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
_SYNSET = re.compile(r"[nvar]\d{8}")
_LETTER = re.compile(r"[^\W\d_]")


def curated_labels(name: str) -> Labels:
    """A curated list: "imagenet", "imagenet-a" or "imagenet-r".

    Returns:
        open_clip's names with WordNet synsets as ids, in label order: of the 1000 classes of ImageNet-1k, or
        of the 200 that ImageNet-A or ImageNet-R have of them.

    Raises:
        LabelError: No such list.
    """
    if name not in CURATED:
        raise LabelError(f"no curated list of labels is called {name!r}; there are {', '.join(CURATED)}")
    names = dict(zip(wordnet.synset_list("imagenet"), imagenet.class_names(), strict=True))
    return as_labels({synset: names[synset] for synset in wordnet.synset_list(CURATED[name])})


def given_labels(labels: GivenLabels) -> Labels:
    """What a user gives as labels of a data set: see `GivenLabels`.

    Raises:
        LabelError: Neither a curated list nor a readable file, or labels that are unusable.
    """
    if is_built_in(labels, CURATED, "list of labels"):
        return curated_labels(str(labels))
    if isinstance(labels, (str, Path)):
        if not Path(labels).expanduser().is_file():
            raise LabelError(
                f"labels {str(labels)!r}: no such file, nor a curated list ({', '.join(CURATED)})"
            )
        return read_labels(Path(labels).expanduser())
    return as_labels(labels)


def check_labels(labels: Labels | Sequence[str], used: Collection[int] | None = None) -> tuple[str, ...]:
    """Look for class names that no model can know, and classes without images or names.

    Args:
        labels: The classes; a plain list may also hold blank names.
        used: Numbers of the classes that images have, each at least once. None: not known.

    Returns:
        Sentences for people; none if all is well.
    """
    names = labels.names if isinstance(labels, Labels) else tuple(labels)
    found = []
    for what, pattern in (("numbers", _NUMBER), ("WordNet synsets", _SYNSET)):
        if hits := [repr(name) for name in names if pattern.fullmatch(name.strip())]:
            found.append(
                f"{_of(hits, names)} look like {what}, not like words: {few(hits)}. Give the names "
                "that people would say, in the same order."
            )
    if blank := [str(place) for place, name in enumerate(names) if not name.strip()]:
        found.append(f"{_of(blank, names)} are blank: at {', '.join(blank[:5])}.")
    wordless = [name for name in names if name.strip() and not _LETTER.search(name)]
    wordless = [repr(name) for name in wordless if not _NUMBER.fullmatch(name.strip())]
    if wordless:
        found.append(f"{_of(wordless, names)} have no letter in them: {few(wordless)}.")
    counts = Counter(clean_name(name).casefold() for name in names if name.strip())
    if twice := [repr(name) for name, count in counts.items() if count > 1]:
        found.append(f"Several classes share a name: {few(twice)}. No text can tell them apart.")
    if len(names) == 1:
        found.append(f"There is only one class, {names[0]!r}: every prediction is right.")
    if used is not None:
        found += _usage(names, used)
    return tuple(found)


def _usage(names: Sequence[str], used: Collection[int]) -> list[str]:
    found = []
    have = set(used)
    if uncovered := sorted(place for place in have if not 0 <= place < len(names)):
        found.append(f"Images have labels that none of the {len(names)} names covers: {few(uncovered)}.")
    if empty := [repr(name) for place, name in enumerate(names) if place not in have]:
        found.append(f"{len(empty)} of {len(names)} classes have no image: {few(empty)}.")
    return found


def shared_classes(a: Labels, b: Labels) -> tuple[str, ...]:
    """The classes of `a` that `b` has too, in the order of `a`: what `restricted` takes for both.

    Returns:
        The id of each, where both know it by that id; else its name.
    """
    ids = set(b.ids)
    # ImageNet has two classes "missile", ImageNet-R one of them: what ids have settled, names do not undo.
    settled = ids & set(a.ids)
    pairs = zip(b.ids, b.names, strict=True)
    names = {clean_name(name).casefold() for identifier, name in pairs if identifier not in settled}
    shared = []
    for identifier, name in zip(a.ids, a.names, strict=True):
        if identifier in ids:
            shared.append(identifier)
        elif clean_name(name).casefold() in names:
            shared.append(name)
    return tuple(dict.fromkeys(shared))


def _of(hits: Sequence[str], names: Sequence[str]) -> str:
    return f"{len(hits)} of {len(names)} class names"
