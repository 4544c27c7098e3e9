"""Every error and warning that vlcls raises on purpose, rooted in one class each."""

import re
from importlib import import_module
from typing import Any

#: A word longer than this is a value, not a word: base64, a path that is none, a number of 5,000 digits.
_WORD, _LINE, _LINES = 400, 2000, 60


def cut_message(text: str) -> str:
    """Cut what no person reads: words of over 400 characters, lines of over 2,000, and after 60 lines.

    Values of users get into messages, and some of them are megabytes long.
    """
    lines = text.split("\n", _LINES)
    if len(lines) > _LINES:
        lines[-1] = f"... ({len(text):,} characters in all)"
    words = re.compile(rf"\S{{{_WORD + 1},}}")
    return "\n".join(_cut(words.sub(lambda word: _cut(word[0], _WORD), line), _LINE) for line in lines)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]}...({len(text):,} characters)...{text[-(most // 6) :]}"


class VlclsError(Exception):
    """Root of all errors of this package. Its message says what was wrong, where, and what to do."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(cut_message(arg) if isinstance(arg, str) else arg for arg in args))


class MissingExtraError(VlclsError, ImportError):
    """A part behind an extra was used without that extra."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an extra that is not installed: pip install "vlcls[{extra}]"')
        self.extra = extra


def library(name: str, what: str, extra: str) -> Any:
    """A module of an extra.

    Raises:
        MissingExtraError: It cannot be imported; says that `what` needs it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(what, extra) from error


class ArgumentError(VlclsError, TypeError, ValueError):
    """An argument of a public function is not of the kind that it takes."""


class EncoderError(VlclsError):
    """An encoder could not be found, loaded or used as it was trained."""


class EncoderMismatchError(VlclsError):
    """Embeddings of one encoder were about to be scored against those of another."""


class ImageError(VlclsError):
    """One image could not be read. Never fatal for the images around it."""


class LabelError(VlclsError, ValueError):
    """The list of class names is unusable: empty, blank or repeated without distinct ids."""


class TemplateError(VlclsError, ValueError):
    """A prompt template is unusable."""


class DescriptorError(VlclsError, ValueError):
    """A descriptor set, or the file it is in, is unusable; names the class and the line."""


class LanguageModelError(VlclsError):
    """A language model could not be asked, or some classes are still without an answer."""


class CaptionError(VlclsError, ValueError):
    """A caption database, or what it is to be made of, is unusable."""


class EmbeddingError(VlclsError, ValueError):
    """Embeddings given by the user have a wrong shape, NaN, or rows of length zero."""


class EvaluationError(VlclsError, ValueError):
    """Scores, true classes or groups that no metric can be computed from; says which and where."""


class OutputError(VlclsError):
    """Results cannot be written where they are to go: full, read-only, in the way, or in use."""


class SessionError(VlclsError):
    """An editing session cannot be opened, changed or kept: in use, changed meanwhile, or damaged."""


class VlclsWarning(UserWarning):
    """Something the user should know that does not stop the work."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(cut_message(arg) if isinstance(arg, str) else arg for arg in args))
