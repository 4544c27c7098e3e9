"""Images with true classes and groups, checked once for everything that looks for bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlcls.classifiers.base import unit_rows
from vlcls.errors import EmbeddingError, VlclsError

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier


def checked(
    classifier: PromptClassifier, images: Any, class_indices: Any, groups: Mapping[str, Sequence[str]]
) -> tuple[Tensor, NDArray[np.int64], dict[str, Sequence[str]]]:
    """Unit embeddings Tensor[N, D] on the CPU, classes int64[N], and columns of N values.

    Raises:
        EmbeddingError: Shapes that do not fit, no images, or classes that the classifier does not have.
        VlclsError: The classifier weighs prompts for each image: leaving one out changes all other weights.
    """
    if classifier.weighting is not None:
        raise VlclsError(
            f"a descriptor's part under {classifier.weighting.name} differs from image to image: "
            "look for bias in the classifier without its weighting"
        )
    rows = unit_rows(images, "image embeddings").cpu()
    truth = torch.as_tensor(class_indices, dtype=torch.int64).cpu().numpy()
    for what, column in {"class indices": truth, **groups}.items():
        if len(column) != len(rows) or not len(rows):
            raise EmbeddingError(f"{len(rows)} image embeddings for {len(column)} {what}")
    width = classifier.text_embeddings.shape[1]
    if rows.shape[1] != width:
        raise EmbeddingError(
            f"image embeddings are {rows.shape[1]} wide, the classifier's text embeddings {width}: they come "
            "from different encoders"
        )
    if truth.min() < 0 or truth.max() >= len(classifier.labels):
        raise EmbeddingError(f"class indices must be in 0..{len(classifier.labels) - 1}")
    return rows, truth, dict(groups)
