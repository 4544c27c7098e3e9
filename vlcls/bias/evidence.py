"""Images with true classes and groups, checked once for everything that looks for bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vlcls.errors import EmbeddingError, VlclsError
from vlcls.explain.pieces import labelled_rows

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
    rows, truth = labelled_rows(classifier, images, class_indices)
    for what, column in groups.items():
        if len(column) != len(rows):
            raise EmbeddingError(f"{len(rows)} image embeddings for {len(column)} {what}")
    return rows, truth.numpy(), dict(groups)
