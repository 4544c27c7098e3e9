"""Which columns of a table hold images, classes and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlcls.errors import EvaluationError

_NAMED = ("class", "classes")
_PLAIN = ("int", "ints", "text", "texts")
#: Class numbers of a table in which some were missing; else measures, so that they are guessed last.
_FLOATS = ("float",)
#: Kinds of columns that may hold labels; the plurals hold several for each image.
LABEL_KINDS = (*_NAMED, *_PLAIN, *_FLOATS)

_IMAGE_NAMES = (
    "image", "img", "file_name", "filename", "file", "path", "image_path", "filepath", "image_file",
)  # fmt: skip
_LABEL_NAMES = ("label", "labels", "class", "classes", "cls", "category", "categories", "target", "y")


@dataclass(frozen=True)
class Columns:
    """Names of columns: one of images, one of labels, any number of groups."""

    image: str
    label: str
    groups: tuple[str, ...] = ()


def choose_columns(
    kinds: Mapping[str, str], where: str, image: str | None, label: str | None, groups: Sequence[str]
) -> Columns:
    """Guess the columns that were not named.

    Args:
        kinds: What each column holds: "image", one of `LABEL_KINDS`, or anything else.
        where: For messages.
        image, label: Names of columns; None to guess: the only one of its kind, or the one with a usual name.
        groups: Names of columns.

    Raises:
        EvaluationError: No such column, or it is not clear which.
    """
    for name in (image, label, *groups):
        if name is not None and name not in kinds:
            raise EvaluationError(f"{where}: no column {name!r}; {_have(kinds)}")
    if image is None:
        image = _guess(kinds, None, (("image",), ("text",)), _IMAGE_NAMES, where, "image")
    if label is None:
        label = _guess(kinds, image, (_NAMED, _PLAIN, _FLOATS), _LABEL_NAMES, where, "label")
    if kinds[label] not in LABEL_KINDS:
        raise EvaluationError(f"{where}: column {label!r} holds no labels ({kinds[label]}); {_have(kinds)}")
    return Columns(image, label, tuple(groups))


def _guess(
    kinds: Mapping[str, str],
    taken: str | None,
    rounds: Sequence[Sequence[str]],
    usual: Sequence[str],
    where: str,
    what: str,
) -> str:
    for wanted in rounds:
        sure = wanted is rounds[0]
        found = [name for name, kind in kinds.items() if kind in wanted and name != taken]
        named = [name for name in usual for other in found if other.casefold() == name]
        if len(named) == 1 or (named and sure):
            return next(other for other in found if other.casefold() == named[0])
        if sure and len(found) == 1:
            return found[0]
        if len(found) > 1 and (named or sure):
            raise EvaluationError(
                f"{where}: {len(found)} columns may be the {what} column ({', '.join(found)}): "
                f"say which with {what}_column"
            )
    raise EvaluationError(f"{where}: no {what} column found; name it with {what}_column. {_have(kinds)}")


def _have(kinds: Mapping[str, str]) -> str:
    return "It has " + (", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "no columns")
