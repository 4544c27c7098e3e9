"""Arguments of public functions are checked where they come in, so that a mistake is named as what it is.

Images, labels, embeddings and encoders take many forms and are read by functions of their own (`as_sources`,
`as_labels`, `unit_rows`, `as_encoder`); everything else is of one of the kinds below.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from vlcls.errors import ArgumentError

P = ParamSpec("P")
R = TypeVar("R")


def _is_path(value: Any) -> bool:
    """A path that a file could have: no system has names of over 255 bytes, or with a NUL."""
    if not isinstance(value, (str, os.PathLike)):
        return False
    names = re.split(r"[/\\\\]" if os.name == "nt" else "/", os.fspath(value))
    try:
        return all(len(os.fsencode(name)) <= 255 and "\0" not in name for name in names)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int of more than 308 digits
        return False


def _is_list(value: Any) -> bool:
    """Something with an order that is not one value itself."""
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping, AbstractSet))


def _listed(value: Any) -> list[Any]:
    """The items of a list; of anything else itself, as the one item."""
    return list(value) if _is_list(value) and not hasattr(value, "parts") else [value]


def _one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in words


def _has(*names: str) -> Callable[[Any], bool]:
    """Told by what it can do: importing the class would load torch."""
    return lambda value: not isinstance(value, type) and all(hasattr(value, name) for name in names)


def _is_prompt(value: Any) -> bool:
    return isinstance(getattr(value, "text", None), str) and hasattr(value, "class_index")


_is_encoder = _has("encode_images", "encode_texts", "fingerprint")

#: What each kind is, for the check and in words.
KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "text": (lambda value: isinstance(value, str), "text"),
    "path": (_is_path, "a path"),
    "flag": (lambda value: isinstance(value, bool), "True or False"),
    "whole": (_is_whole, "a whole number"),
    "count": (lambda value: _is_whole(value) and value >= 1, "a whole number of at least 1"),
    "number": (_is_number, "a finite number"),
    "real": (lambda value: isinstance(value, Real) and not isinstance(value, bool), "a number"),
    "function": (callable, "a function"),
    "device": (
        lambda value: isinstance(value, str) or type(value).__name__ == "device",
        "text such as cpu, cuda or cuda:1",
    ),
    "precision": (lambda value: isinstance(value, str), "fp32, bf16 or fp16"),  # which, the encoder says
    "activation": (_one_of("softmax", "sigmoid"), "softmax or sigmoid"),
    "cache": (lambda value: isinstance(value, bool) or _is_path(value), "True, False or a folder"),
    "loaded encoder": (_is_encoder, "a loaded encoder (see `vlcls.load_encoder`)"),
    "classifier": (_has("labels", "probabilities", "encoder_info"), "a classifier"),
    "templates": (
        lambda value: _is_path(value) or _is_list(value),
        "the name of a set, a file, one template, or a list of them",
    ),
    "descriptors": (
        lambda value: _is_path(value) or _has("labels", "descriptors", "for_labels")(value),
        "a DescriptorSet, a file (`vlcls.descriptors.read_descriptors` says of what form) or a built-in set",
    ),
    "weighting": (lambda value: isinstance(value, str) or _has("name", "beta")(value), "a Weighting or text"),
    "made weighting": (_has("name", "beta"), "a Weighting"),
    "prompts": (_has("labels", "texts", "class_indices"), "a PromptSet"),
    "labels": (_has("names", "ids", "reported"), "`Labels` (`vlcls.labels.as_labels` makes them)"),
    "prompt list": (
        lambda value: isinstance(value, (list, tuple)) and all(map(_is_prompt, value)),
        "a tuple of prompts",
    ),
    "tensor": (
        lambda value: _has("is_sparse", "is_meta", "ndim")(value)
        and not (value.is_sparse or value.is_meta or value.is_complex())
        and value.ndim == 2,
        "a dense Tensor of real numbers with two dimensions",
    ),
    "method": (_has("encoder", "__call__"), "a `Cased`, or another naming method"),
    "store": (_has("partition", "verify"), "an EmbeddingStore"),
    "list": (_is_list, "a list"),
    "data": (
        lambda value: all(_is_path(each) or _has("parts", "labels")(each) for each in _listed(value)),
        "a path or name of a data set, an EvaluationSet, or a list of these",
    ),
    "some classes": (
        lambda value: all(isinstance(each, str) or _is_whole(each) for each in _listed(value)),
        "names, ids or indices of classes",
    ),
    "encoders": (
        lambda value: isinstance(value, str) or _is_encoder(value) or _is_list(value),
        "a spec (text), a loaded encoder, or a list of them",
    ),
    "way to sort": (_one_of("copy", "link", "move"), "copy, link or move"),
    "methods": (lambda value: isinstance(value, str) or _is_list(value), "text, or a list of method specs"),
}  # fmt: skip


def takes(**kinds: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: each named argument must be of its kind, one of `KINDS`; "?" after it lets None through.

    Raises (the decorated function):
        ArgumentError: Names the argument, what it takes and what was given.
    """
    unknown = {kind.removesuffix("?") for kind in kinds.values()} - set(KINDS)
    assert not unknown, unknown

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        assert set(kinds) <= set(signature.parameters), function

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name, value in signature.bind(*args, **kwargs).arguments.items():
                if name in kinds:
                    check_argument(name, value, kinds[name])
            return function(*args, **kwargs)

        checked.takes = kinds  # type: ignore[attr-defined]  # for the test that all public functions have it
        return checked

    return decorate


def check_argument(name: str, value: Any, kind: str) -> None:
    """Refuse an argument that is not of its kind.

    Raises:
        ArgumentError: Names the argument, what it takes and what was given.
    """
    if value is None and kind.endswith("?"):
        return
    is_so, words = KINDS[kind.removesuffix("?")]
    if not is_so(value):
        none = ", or None" if kind.endswith("?") else ""
        raise ArgumentError(f"{name} takes {words}{none}, not {_said(value)}")


def whole_numbers(name: str, values: Any) -> list[int]:
    """The items of a list, array or tensor of whole numbers.

    Raises:
        ArgumentError: It is none; names the argument.
    """
    if type(values).__module__.split(".")[0] == "torch":
        dense = not (values.is_meta or values.is_sparse) and values.ndim == 1
        values = values.tolist() if dense else [values]
    values = list(values) if _is_list(values) and getattr(values, "ndim", 1) == 1 else [values]
    for each in values:
        if not _is_whole(each):
            raise ArgumentError(f"{name} takes a list of whole numbers, and {_said(each)} is none")
    return [int(each) for each in values]


def _said(value: Any) -> str:
    # Python does not even print those of 4,300 digits.
    if isinstance(value, int) and value.bit_length() > 1000:
        return "a number of hundreds of digits"
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
