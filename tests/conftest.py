"""What all tests share: no network, a cache folder of their own, and small saved models."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

# Before anything imports huggingface_hub or opens the store: both read these once, at the start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
_CACHE = tempfile.TemporaryDirectory(prefix="vlcls-test-cache-")
os.environ["VLCLS_CACHE"] = _CACHE.name

# No deadline: machines are slow. Derandomised: a change is judged by its own effect, not by luck.
settings.register_profile("vlcls", deadline=None, derandomize=True, database=None, max_examples=50)
# `pytest --hypothesis-profile=explore` looks further than the fixed examples.
settings.register_profile("explore", deadline=None, database=None, max_examples=1000)
settings.load_profile("vlcls")

#: Every kind of saved model that tests/models.py makes.
MODELS = (
    "open_clip-clip",
    "open_clip-siglip",
    "hf-clip",
    "hf-siglip",
    "hf-siglip2",
    "hf-align",
    "hf-altclip",
    "hf-chinese_clip",
    "hf-clipseg",
)


def pytest_unconfigure(config: pytest.Config) -> None:
    _CACHE.cleanup()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`model_folder("hf-clip")`: where a small random model of that kind is saved."""
    root = tmp_path_factory.mktemp("models")

    @cache
    def saved(kind: str) -> Path:
        from models import save_open_clip, save_transformers

        library, _, family = kind.partition("-")
        if library == "open_clip":
            return save_open_clip(root / kind, siglip=family == "siglip")
        return save_transformers(root / kind, family)

    return saved


@pytest.fixture(scope="session")
def model_spec(model_folder: Callable[[str], Path]) -> Callable[[str], str]:
    """`model_spec("hf-clip")`: the spec string of that model."""
    prefix = {"open_clip": "open_clip:local-dir:", "hf": "hf:"}
    return lambda kind: prefix[kind.partition("-")[0]] + str(model_folder(kind))


@pytest.fixture(scope="session")
def get_encoder(model_spec: Callable[[str], str]) -> Callable[[str], Encoder]:
    """`get_encoder("hf-clip")`: that model loaded in float32, once for the session. Do not change it."""

    @cache
    def loaded(kind: str) -> Encoder:
        from vlcls import load_encoder

        return load_encoder(model_spec(kind), device="cpu", precision="fp32")

    return loaded


@pytest.fixture(scope="session")
def clip_folder(model_folder: Callable[[str], Path]) -> Path:
    return model_folder("open_clip-clip")


@pytest.fixture(scope="session")
def clip(get_encoder: Callable[[str], Encoder]) -> Encoder:
    """The small open_clip CLIP, for tests that need any encoder."""
    return get_encoder("open_clip-clip")


@pytest.fixture(scope="session")
def siglip(get_encoder: Callable[[str], Encoder]) -> Encoder:
    return get_encoder("open_clip-siglip")


@pytest.fixture(scope="session")
def picture() -> Callable[..., Any]:
    """`picture(seed, width, height)`: an RGB image that no other seed gives."""
    import numpy as np
    from PIL import Image

    def draw(seed: int, width: int = 40, height: int = 34) -> Image.Image:
        generator = np.random.default_rng(seed)
        coarse = generator.integers(0, 256, (5, 4, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)

    return draw


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Any]) -> list[Path]:
    """64 different PNG files of several sizes, in the order of their names."""
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{number:02}.png" for number in range(64)]
    for number, path in enumerate(paths):
        picture(number, 30 + number % 7, 50 - number % 5).save(path)
    return paths
