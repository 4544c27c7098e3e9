"""Right for the right reasons: is the category right, and is the rationale that goes with it?

Mao et al., "Doubly Right Object Recognition: A Why Prompt for Visual Rationales" (CVPR 2023). For each image
the texts "This is a photo of a {category} because there is {rationale}" nearest to it are searched among all
categories x all rationales (`vlcls.evaluation.metrics.rationale_search`). The predicted category is the most
frequent one among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.intervals import Estimate, proportion

#: Category right or wrong, rationale right or wrong.
Quadrant = Literal["RR", "RW", "WR", "WW"]
QUADRANTS: tuple[Quadrant, ...] = ("RR", "RW", "WR", "WW")


@dataclass(frozen=True)
class DoublyRight:
    """Counts of images; parts of 1 as estimates with Wilson intervals.

    Attributes:
        RR: Category right, with the true rationale among its own. The benchmark's "DR accuracy".
        RW: Category right, without it.
        WR: Category wrong, but with the true rationale beside the predicted category.
        WW: Both wrong.
    """

    RR: int
    RW: int
    WR: int
    WW: int

    @property
    def images(self) -> int:
        return self.RR + self.RW + self.WR + self.WW

    @property
    def accuracy(self) -> Estimate | None:
        """Of categories: RR + RW."""
        return proportion(self.RR + self.RW, self.images)

    def part(self, quadrant: Quadrant) -> Estimate | None:
        """Of all images; None without images."""
        return proportion(getattr(self, quadrant), self.images)

    def to_json(self) -> dict[str, Any]:
        parts = {name: self.part(name) for name in QUADRANTS} | {"accuracy": self.accuracy}
        plain = {name: None if part is None else part.to_json() for name, part in parts.items()}
        return {"images": self.images, **plain}


def doubly_right(
    categories: Any, rationales: Any, true_category: Any, true_rationale: Any, *, legacy: bool = False
) -> DoublyRight:
    """Count images by quadrant. See `quadrants` for the arguments."""
    places = quadrants(categories, rationales, true_category, true_rationale, legacy=legacy)
    return DoublyRight(*np.bincount(places, minlength=4).tolist())


def quadrants(
    categories: Any, rationales: Any, true_category: Any, true_rationale: Any, *, legacy: bool = False
) -> NDArray[np.int64]:
    """For each image its place in `QUADRANTS`.

    Everything is matched by index, where the published code looks for one text inside another ("cat" in
    "cattle").

    Args:
        categories, rationales: [N, K] indices: those of the K texts nearest to each image, nearest first.
            Both -1 where there are fewer than K texts.
        true_category, true_rationale: [N].
        legacy: Vote as the published code does: only down to the first text that has both right, which
            favours categories before it.

    Returns:
        int64[N].

    Raises:
        EvaluationError: Shapes that do not fit, or an image without any text.
    """
    found, reasons = np.asarray(categories), np.asarray(rationales)
    category, reason = np.asarray(true_category), np.asarray(true_rationale)
    if found.ndim != 2 or found.shape != reasons.shape or {category.shape, reason.shape} != {found.shape[:1]}:
        raise EvaluationError(
            f"categories {found.shape} and rationales {reasons.shape} must be [images, texts], and the true "
            f"ones {category.shape} and {reason.shape} one each for every image"
        )
    if not found.size or (found[:, 0] < 0).any():
        raise EvaluationError("every image needs at least one nearest text")
    votes = found >= 0
    hits = (reasons == reason[:, None]) & votes
    if legacy:
        both = hits & (found == category[:, None])
        # The text that has both right still votes, those after it do not.
        votes &= (both.cumsum(1) - both) == 0
    predicted = _most_frequent(found, votes)
    right = predicted == category
    reasoned = (hits & (found == predicted[:, None])).any(1)
    result: NDArray[np.int64] = 2 * ~right + 1 * ~reasoned
    return result


def _most_frequent(categories: NDArray[np.int64], votes: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The category [N, K] with most votes; of equal ones the one that is seen first: [N]."""
    same = (categories[:, :, None] == categories[:, None, :]) & votes[:, None, :]
    winner = (same.sum(2) * votes).argmax(1)
    result: NDArray[np.int64] = categories[np.arange(len(categories)), winner]
    return result
