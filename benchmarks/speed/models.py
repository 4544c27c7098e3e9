"""What the speed benchmarks run on: models of real size with random weights, and photographs.

Weights do not change how long a model takes, so none are downloaded; the models are saved in the formats of
their libraries and loaded from there by both sides of a comparison.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

LABELS = (
    "cat",
    "rocket",
    "cup of coffee",
    "astronaut",
    "motorcycle",
    "galaxy",
    "eye",
    "coins",
    "horse",
    "moon",
)

#: skimage.data attributes (all inside its wheel) that are photographs.
_PHOTOS = ("astronaut", "cat", "coffee", "rocket", "hubble_deep_field", "retina", "camera", "coins", "moon")
_LARGE_EVERY = 16


def save_open_clip(folder: Path, architecture: str = "ViT-B-32") -> Path:
    """An open_clip model with random weights, as `local-dir:` reads it."""
    import open_clip
    import torch
    from open_clip.push_to_hf_hub import save_config_for_hf
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    model = open_clip.create_model(architecture)
    save_file(model.state_dict(), str(folder / "open_clip_model.safetensors"))
    config: Any = open_clip.get_model_config(architecture)
    save_config_for_hf(model, config_path=folder / "open_clip_config.json", model_config=config)
    return folder


def save_tiny_open_clip(folder: Path) -> Path:
    """A two-layer model at CLIP's resolution: thousands of images take seconds."""
    import open_clip

    config = {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
    }
    name = "vlcls-benchmark-tiny"
    (folder / "arch").mkdir(parents=True)
    (folder / "arch" / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "arch")
    return save_open_clip(folder, name)


def save_transformers(folder: Path) -> Path:
    """A transformers CLIP (ViT-B/32) with random weights, tokenizer and image processor."""
    import torch
    import transformers
    from open_clip.tokenizer import SimpleTokenizer

    torch.manual_seed(0)
    simple = SimpleTokenizer()  # OpenAI's vocabulary, inside open_clip's wheel
    vocabulary = {**simple.encoder, "<|startoftext|>": 49406, "<|endoftext|>": 49407}
    del vocabulary["<start_of_text>"], vocabulary["<end_of_text>"]
    tokenizer = transformers.CLIPTokenizer(
        vocab=vocabulary, merges=list(simple.bpe_ranks), model_max_length=77
    )
    ends = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": tokenizer.pad_token_id}
    model = transformers.CLIPModel(
        transformers.CLIPConfig(text_config={"vocab_size": len(tokenizer), **ends})
    )
    for part in (model, tokenizer, transformers.CLIPImageProcessor()):
        part.save_pretrained(folder)
    return folder


def save_photos(folder: Path, count: int) -> list[Path]:
    """JPEGs cut out of scikit-image's photographs, no two equal: 640 x 480, every 16th 3000 x 2000."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}.jpg" for number in range(count)]
    for path, image in zip(paths, _photos(), strict=False):
        image.save(path, quality=90)
    return paths


def find_photos(folder: Path | None, scratch: Path, count: int) -> list[Path]:
    """The first `count` JPEGs of a user's folder, or `count` new ones."""
    if folder is None:
        return save_photos(scratch / "photos", count)
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:count]


def _photos() -> Iterator[Any]:
    import numpy as np
    import skimage.data
    from PIL import Image

    rng = np.random.default_rng(0)
    originals = [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in _PHOTOS]
    number = 0
    while True:
        original = originals[number % len(originals)]
        size = (3000, 2000) if number % _LARGE_EVERY == _LARGE_EVERY - 1 else (640, 480)
        zoom = rng.uniform(0.6, 0.95) * min(original.width / size[0], original.height / size[1])
        width, height = zoom * size[0], zoom * size[1]
        left, top = rng.uniform(0, original.width - width), rng.uniform(0, original.height - height)
        crop = original.resize(size, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        # Enlarged pixels are smoother than a camera's: without grain the files would be too small.
        grain = rng.normal(0, 3, (size[1], size[0], 1))
        yield Image.fromarray((np.asarray(crop) + grain).clip(0, 255).astype(np.uint8))
        number += 1
