"""Changing a descriptor set, and saying what changed. Every edit returns a new set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from vlcls.descriptors.base import Descriptor, DescriptorSet, nearest
from vlcls.errors import DescriptorError
from vlcls.labels import Labels, clean_name


@dataclass(frozen=True)
class Change:
    """One difference between two descriptor sets.

    Attributes:
        kind: "class added", "class removed", "added", "removed", or "reweighted".
        class_name: The class, as `Labels.reported` names it.
        text: The descriptor; empty for a whole class.
        weights: For "reweighted": before and after.
    """

    kind: Literal["class added", "class removed", "added", "removed", "reweighted"]
    class_name: str
    text: str = ""
    weights: tuple[float, float] | None = None


def add(
    descriptors: DescriptorSet, class_name: str, texts: Iterable[str], *, new_class: bool = False
) -> DescriptorSet:
    """Add descriptors that a person wrote to a class; with `new_class`, to one that is not there yet.

    Raises:
        DescriptorError: No such class (or one already), or a text is blank or there already.
    """
    known = _with_class(descriptors, class_name) if new_class else descriptors
    index = known.find(class_name)
    own = list(known.descriptors[index])
    for text in texts:
        if not text.strip():
            raise DescriptorError(f"class {class_name!r}: a descriptor must not be blank")
        if any(each.text == text for each in own):
            raise DescriptorError(f"class {class_name!r} has {text!r} already")
        own.append(Descriptor(text))
    return known.replaced(index, own)


def remove(descriptors: DescriptorSet, class_name: str, texts: Iterable[str] | None = None) -> DescriptorSet:
    """Remove descriptors of a class; or, without texts, the class.

    Raises:
        DescriptorError: No such class or descriptor; says what is near.
    """
    index = descriptors.find(class_name)
    if texts is None:
        kept = [place for place in range(len(descriptors.labels)) if place != index]
        if not kept:
            raise DescriptorError(f"{class_name!r} is the only class: a set needs one")
        own = tuple(descriptors.descriptors[place] for place in kept)
        return replace(descriptors, labels=descriptors.labels.some(kept), descriptors=own)
    rows = {_row(descriptors, index, text) for text in texts}
    left = [each for row, each in enumerate(descriptors.descriptors[index]) if row not in rows]
    return descriptors.replaced(index, left)


def replace_text(descriptors: DescriptorSet, class_name: str, old: str, new: str) -> DescriptorSet:
    """Other words for one descriptor; it keeps its place, source and weight, and is marked as edited.

    Raises:
        DescriptorError: No such class or descriptor, or the new one is blank or there already.
    """
    index = descriptors.find(class_name)
    row = _row(descriptors, index, old)
    if not new.strip():
        raise DescriptorError(f"class {class_name!r}: a descriptor must not be blank")
    if new != old and new in descriptors.texts(index):
        raise DescriptorError(f"class {class_name!r} has {new!r} already")
    own = list(descriptors.descriptors[index])
    own[row] = replace(own[row], text=new, edited=True)
    return descriptors.replaced(index, own)


def reweight(descriptors: DescriptorSet, class_name: str, text: str, weight: float) -> DescriptorSet:
    """Another weight for one descriptor: 1 is usual, 0 leaves it out.

    Raises:
        DescriptorError: No such class or descriptor, or a weight that is not in the range of `vlcls.limits`.
    """
    index = descriptors.find(class_name)
    row = _row(descriptors, index, text)
    own = list(descriptors.descriptors[index])
    own[row] = replace(own[row], weight=weight)
    return descriptors.replaced(index, own)


def rename(descriptors: DescriptorSet, old: str, new: str) -> DescriptorSet:
    """Another name for a class. Its id stays, unless the name was the id.

    Raises:
        DescriptorError: No such class, or the new name is another class's.
    """
    index = descriptors.find(old)
    names, ids = list(descriptors.labels.names), list(descriptors.labels.ids)
    name = clean_name(new)
    if not name:
        raise DescriptorError(f"class {old!r}: a name must not be blank")
    if ids[index] == names[index]:
        if name in ids[:index] + ids[index + 1 :]:
            raise DescriptorError(f"there is a class {name!r} already: two of one name need ids")
        ids[index] = name
    names[index] = name
    return replace(descriptors, labels=Labels(tuple(names), tuple(ids)))


def diff_descriptors(before: DescriptorSet, after: DescriptorSet) -> tuple[Change, ...]:
    """What was added, removed and reweighted, class by class (matched by id)."""
    old = {identifier: index for index, identifier in enumerate(before.labels.ids)}
    new = {identifier: index for index, identifier in enumerate(after.labels.ids)}
    changes = [
        Change("class removed", before.labels.reported[index])
        for identifier, index in old.items()
        if identifier not in new
    ]
    for identifier, index in new.items():
        name = after.labels.reported[index]
        if identifier not in old:
            changes.append(Change("class added", name))
        was = {each.text: each for each in before.descriptors[old[identifier]]} if identifier in old else {}
        own = {each.text: each for each in after.descriptors[index]}
        changes += [Change("removed", name, text) for text in was if text not in own]
        for text, each in own.items():
            if text not in was:
                changes.append(Change("added", name, text))
            elif was[text].weight != each.weight:
                changes.append(Change("reweighted", name, text, (was[text].weight, each.weight)))
    return tuple(changes)


def _with_class(descriptors: DescriptorSet, name: str) -> DescriptorSet:
    name = clean_name(name)
    if name in (*descriptors.labels.names, *descriptors.labels.ids):
        raise DescriptorError(f"there is a class {name!r} already")
    labels = Labels((*descriptors.labels.names, name), (*descriptors.labels.ids, name))
    return replace(descriptors, labels=labels, descriptors=(*descriptors.descriptors, ()))


def _row(descriptors: DescriptorSet, index: int, text: str) -> int:
    texts = descriptors.texts(index)
    if text not in texts:
        name = descriptors.labels.reported[index]
        raise DescriptorError(f"class {name!r} has no descriptor {text!r}{nearest(text, texts)}")
    return texts.index(text)
