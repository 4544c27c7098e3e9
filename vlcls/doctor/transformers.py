"""What is known of a dual encoder of transformers: from the library, and from how its family was trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from vlcls.doctor.reference import (
    HALF,
    OPENAI,
    Finding,
    Preprocessing,
    Reference,
    Resize,
    Statistics,
    TextTower,
)
from vlcls.encoders.loading import loading
from vlcls.encoders.transformers import TransformersEncoder
from vlcls.errors import EncoderError
from vlcls.files.json_text import read_json


@dataclass(frozen=True)
class FamilyTraining:
    """How the models of one `model_type` were trained.

    Sources: the configuration classes and conversion scripts of transformers, and the registry of open_clip.
    """

    family: str
    statistics: tuple[Statistics, ...] = (OPENAI,)
    doubtful: tuple[Statistics, ...] = ()
    resize: tuple[Resize, ...] = ("crop",)
    interpolation: str = "bicubic"
    lower_cased: bool | None = None
    bert: bool = False
    activations: tuple[str, ...] = ()
    sigmoid: bool = False


_SIGLIP_ACTIVATIONS = ("gelu_pytorch_tanh",)
_TRAINING = {
    # HALF: laion's ViT-L-14 (laion2b_s32b_b82k).
    "clip": FamilyTraining("CLIP", doubtful=(HALF,), lower_cased=True),
    "metaclip_2": FamilyTraining("MetaCLIP 2", resize=("crop", "squash")),
    "clipseg": FamilyTraining("CLIPSeg", doubtful=(HALF,), lower_cased=True, activations=("quick_gelu",)),
    "siglip": FamilyTraining(
        "SigLIP", (HALF,), (), ("squash",), lower_cased=True, activations=_SIGLIP_ACTIVATIONS, sigmoid=True
    ),
    "align": FamilyTraining("ALIGN", (HALF,), (), ("squash",), "bilinear", lower_cased=True, bert=True),
    "altclip": FamilyTraining("AltCLIP", bert=True),
    # The reference implementation (OFA-Sys/Chinese-CLIP) resizes to the square without a crop; the
    # image processor of the checkpoints in this format may do either.
    "chinese_clip": FamilyTraining("Chinese-CLIP", resize=("crop", "squash"), bert=True),
}
_UNKNOWN = FamilyTraining("this", doubtful=(HALF,), resize=("crop", "squash"))


def reference(encoder: TransformersEncoder) -> Reference:
    """The reference of an encoder that `load_encoder` made."""
    training = _TRAINING.get(encoder.family, _UNKNOWN)
    batch = _batches(encoder, training)

    def text_features(texts: Sequence[str]) -> Tensor:
        output = encoder.model.get_text_features(**batch(texts))
        return output if isinstance(output, Tensor) else output.pooler_output

    def logits(pixels: Tensor, texts: Sequence[str]) -> Tensor:
        output = encoder.model(pixel_values=pixels.to(encoder.device), **batch(texts))
        scores: Tensor = output.logits_per_image
        return scores

    return Reference(
        training.family,
        _preprocessing(encoder, training),
        _text_tower(encoder, training, text_features),
        training.sigmoid,
        _activation(encoder, training),
        logits,
    )


def _batches(
    encoder: TransformersEncoder, training: FamilyTraining
) -> Callable[[Sequence[str]], dict[str, Tensor]]:
    """The library's own input for texts, padded to the full context; masked unless SigLIP."""
    length = _positions(encoder) if training.sigmoid else encoder.context_length
    side = {} if training.sigmoid else {"padding_side": "right"}

    def batch(texts: Sequence[str]) -> dict[str, Tensor]:
        inputs = encoder.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
            **side,
        )
        wanted = ("input_ids",) if training.sigmoid else ("input_ids", "attention_mask")
        return {name: inputs[name].to(encoder.device) for name in wanted if name in inputs}

    return batch


def _positions(encoder: TransformersEncoder) -> int:
    config = encoder.model.config.text_config
    positions = int(getattr(config, "max_position_embeddings", encoder.context_length))
    if encoder.family == "altclip":  # XLM-RoBERTa numbers positions from the padding id + 1
        positions -= int(config.pad_token_id) + 1
    return positions


def _preprocessing(encoder: TransformersEncoder, training: FamilyTraining) -> Preprocessing:
    vision = encoder.model.config.vision_config
    side = getattr(vision, "image_size", None) if hasattr(vision, "patch_size") else None
    return Preprocessing(
        own=_transform(encoder.processor),
        statistics=training.statistics,
        doubtful=training.doubtful,
        resize=training.resize,
        interpolation=Image.Resampling(int(encoder.processor.resample)).name.lower(),
        trained_interpolation=(training.interpolation,),
        tower_size=None if side is None else (int(side), int(side)),
        alternative=lambda: _other_processor(encoder),
    )


def _transform(processor: Any) -> Callable[[Image.Image], Tensor]:
    def own(image: Image.Image) -> Tensor:
        pixels: Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    return own


def _other_processor(encoder: TransformersEncoder) -> tuple[str, str, Callable[[Image.Image], Tensor]]:
    """The processor of the other backend; the same one where transformers has only that."""
    from transformers import AutoImageProcessor

    here = _backend(encoder.processor)
    wanted = "pil" if here == "torchvision" else "torchvision"
    folder = str(Path(encoder.spec.partition(":")[2]).expanduser())
    with loading(encoder.spec, "the other kind of its image processor"):
        other = AutoImageProcessor.from_pretrained(folder, backend=wanted, trust_remote_code=False)
    return here, _backend(other), _transform(other)


def _backend(processor: Any) -> str:
    return "pil" if type(processor).__name__.endswith("Pil") else "torchvision"


def _text_tower(
    encoder: TransformersEncoder, training: FamilyTraining, own: Callable[[Sequence[str]], Tensor]
) -> TextTower:
    tokenizer, config = encoder.tokenizer, encoder.model.config.text_config
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    pools_at = "elsewhere"
    if encoder.family in ("clip", "clipseg", "metaclip_2"):
        # transformers reads configs of before its pull request 24773, which say 2, at the largest id.
        pools_at = "largest" if config.eos_token_id == 2 else "end"
        end = end if pools_at == "largest" else config.eos_token_id
    return TextTower(
        own=own,
        vocabulary=len(tokenizer),
        positions=_positions(encoder),
        short_context=training.bert,
        attends_padding=training.sigmoid,
        end_id=None if end is None else int(end),
        pools_at=pools_at,  # type: ignore[arg-type]
        lower_cased=training.lower_cased,
        # SigLIP 2 has another tokenizer and keeps punctuation.
        without_punctuation=type(tokenizer).__name__ == "SiglipTokenizer",
    )


def _activation(encoder: TransformersEncoder, training: FamilyTraining) -> Finding:
    config = encoder.model.config
    texts, images = (getattr(part, "hidden_act", "") for part in (config.text_config, config.vision_config))
    found = f"{images} in the image tower, {texts} in the text tower"
    origin = _declared_origin(encoder)
    if encoder.family in ("clip", "clipseg") and "openai/" in origin and {texts, images} != {"quick_gelu"}:
        return "fail", (
            f"{origin} was trained with QuickGELU, but the config says {found}, which costs several points "
            'of accuracy; set "hidden_act": "quick_gelu" for both towers in config.json.'
        )
    if training.bert:  # the text tower was trained elsewhere, with an activation of its own
        return "pass", f"{found}, as the config says; nothing says what the weights were trained with."
    if texts != images:
        return "fail", (
            f"the two towers disagree ({found}), but both were trained with the same activation: one of them "
            "computes with the wrong one, which costs several points of accuracy; make hidden_act in "
            "config.json what the model's card says (OpenAI weights: quick_gelu)."
        )
    if training.activations and texts not in training.activations:
        return "fail", (
            f"{training.family} was trained with {' or '.join(training.activations)}, but the config says "
            f"{found}; correct hidden_act in config.json."
        )
    if training.activations or "openai/" in origin:
        return "pass", f"{found}, as {origin if 'openai/' in origin else training.family} was trained."
    return "pass", f"{found}; nothing in the files says which one the weights were trained with."


def _declared_origin(encoder: TransformersEncoder) -> str:
    """The repository that the model says it comes from, if any.

    A config read from a folder carries the folder's name, so that the file itself has to be read.
    """
    source = encoder.spec.partition(":")[2]
    file = Path(source) / "config.json"
    if not file.is_file():
        return source
    config = read_json(file, EncoderError)
    return str(config.get("_name_or_path", "")) if isinstance(config, dict) else ""
