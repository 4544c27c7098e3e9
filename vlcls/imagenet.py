"""ImageNet's class names and CLIP's templates for them, which open_clip carries.

`import open_clip` takes seconds, since it loads every model it knows; these are lists in one file of it.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

_TEMPLATES = {"simple": "SIMPLE_IMAGENET_TEMPLATES", "openai-imagenet": "OPENAI_IMAGENET_TEMPLATES"}

#: The template sets to be had here.
TEMPLATE_SETS = tuple(_TEMPLATES)


def class_names() -> list[str]:
    """The 1000 names of ImageNet-1k in label order, as OpenAI's CLIP cleaned them up (two of them twice)."""
    return list(_metadata().IMAGENET_CLASSNAMES)


def templates(name: str) -> list[str]:
    """One of the `TEMPLATE_SETS`, with `{}` where the class name goes."""
    return [fill("{}") for fill in getattr(_metadata(), _TEMPLATES[name])]


@lru_cache(maxsize=1)
def _metadata() -> Any:
    package = find_spec("open_clip")
    assert package is not None and package.origin is not None
    spec = spec_from_file_location(
        "vlcls._zero_shot_metadata", Path(package.origin).parent / "zero_shot_metadata.py"
    )
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
