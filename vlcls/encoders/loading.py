"""What all families have in common when they load a model: its errors, and that none of its code is run.

A folder or repository of transformers can hold Python code beside its weights. The library asks on standard
input whether to run it; where a file says `trust_remote_code`, as that of an open_clip folder can for its
tokenizer, it runs it unasked. Encoders come from saved classifiers and run folders too, which may be a
stranger's; so vlcls never runs such code.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pickle import UnpicklingError
from typing import Any
from unittest.mock import patch

from vlcls.errors import EncoderError

#: The functions of transformers through which all code of models goes: the first fetches the file, the
#: second runs it.
_RUNS_CODE = ("get_cached_module_file", "get_class_in_module")

_ONE_AT_A_TIME = threading.RLock()


class _CodeRefusedError(Exception):
    """A model wanted code of its own to be run."""


@contextmanager
def loading(what: str, hint: str) -> Iterator[None]:
    """Load a model inside this: whatever a library raises becomes an `EncoderError`, and no code of the
    model's is run or asked about.

    Args:
        what: The encoder's spec.
        hint: What else could be tried, for errors.

    Raises:
        EncoderError: It could not be loaded, or has code of its own.
    """
    try:
        with _without_code():
            yield
    except EncoderError:
        raise
    except Exception as error:
        if _says(error, _CodeRefusedError, "trust_remote_code"):
            raise EncoderError(
                f"{what} cannot be loaded without running Python code that comes with the model, which vlcls "
                "never does: take a model whose classes transformers and open_clip have themselves"
            ) from error
        if _says(error, UnpicklingError, "weights_only"):
            raise EncoderError(
                f"{what}: its file of weights is a pickle that holds more than weights, and opening it could "
                "run code: ask for the weights in safetensors"
            ) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EncoderError(f"{what} could not be loaded: {reason} ({hint})") from error


@contextmanager
def _without_code() -> Iterator[None]:
    if find_spec("transformers") is None:
        yield
        return
    from transformers import dynamic_module_utils as code

    with _ONE_AT_A_TIME, ExitStack() as stack:
        for name in _RUNS_CODE:
            stack.enter_context(patch.object(code, name, _refuse))
        # 0 seconds for an answer: transformers raises in place of asking.
        stack.enter_context(patch.object(code, "TIME_OUT_REMOTE_CODE", 0))
        yield


def refuse_custom_tokenizer(name: str) -> None:
    """Refuse a tokenizer that is a program of the model's: transformers, not allowed to run it, may take one
    of its own classes instead, which makes other tokens. Inside `loading`.

    Args:
        name: Folder or repository of the tokenizer.
    """
    from transformers.models.auto.tokenization_auto import get_tokenizer_config, tokenizer_class_from_name

    config = get_tokenizer_config(name)
    auto_map = config.get("auto_map") or {}
    own = config.get("tokenizer_class")
    # Lists and tuples: how releases before 4.10 wrote it.
    custom = "AutoTokenizer" in auto_map if isinstance(auto_map, dict) else bool(auto_map)
    if custom and (own is None or tokenizer_class_from_name(own) is None):
        raise _CodeRefusedError(f"the tokenizer {own}")


def refuse_custom_classes(name: str, model: Any) -> None:
    """The same for a model and its image processor: what the folder names is what must have been loaded.

    Args:
        name: Folder or repository.
        model: What was loaded from it.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    auto_map = getattr(model.config, "auto_map", None) or {}
    if "AutoModel" in auto_map and type(model).__name__ not in (model.config.architectures or ()):
        raise _CodeRefusedError(f"the model {auto_map['AutoModel']}")
    processor, _ = ImageProcessingMixin.get_image_processor_dict(name)
    named = {*(processor.get("auto_map") or {}), *auto_map}
    if "AutoImageProcessor" in named and processor.get("image_processor_type") is None:
        raise _CodeRefusedError("the image processor")


def _refuse(*_args: Any, **_named: Any) -> Any:
    raise _CodeRefusedError("code of the model's own")


def _says(error: BaseException | None, kind: type[Exception], word: str) -> bool:
    """Whether an error, or one that led to it, is of a kind or has a word in its message."""
    while error is not None:
        if isinstance(error, kind) or word in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep transformers from drawing a bar on standard error for a local file that loads in a moment."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
