"""Names that take more of a mixed set of images than they can mean: hubs, which are near everything.

For N images with unit embeddings x and a name n with k_n images, let w_n be the mean cosine of its pairs of
images, w the mean of all other names' w (weighted by their images), and b the mean cosine of pairs with
different names. If the images of a name were of m kinds, equally many each, every kind as much alike as the
images of the other names are and different kinds as unlike as different names, a share 1/m of its pairs
would be alike:

    w_n = b + (w - b) / m,   so   m_n = (w - b) / (w_n - b)

is how many kinds of things, measured by the other names, the name stands for. Sums of embeddings are enough
for it, so it is taken in flat memory. A name is wide if it has at least a fifth of the images, ten of them,
and stands for more than two and a half kinds: on photographs of seven classes (`docs/discover.md`) a name of
two, three, four and five of them measures 2.0, 2.9, 4.4 and 4.4, names of one 0.7 to 1.4. What is measured is
looks, as the encoder has them: a name may be wide by right, which is why it is a warning.

Where the encoder sees no difference (sketches), looks tell nothing, and only the share itself does. The names
of the other images are as many as e = (sum k)^2 / sum k^2 equal ones (the inverse of Simpson's index): with
e + 1 kinds of things an even share is 1 / (e + 1). A name of a tenth of the images, ten of them, that has
four times the even share or more is said, too, if ten images have other names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from vlcls.classifiers.vocabulary_free import Naming, NamingMethod
    from vlcls.encoders.base import Encoder

#: What a wide name has at least: images, share of all, kinds of things.
LEAST_IMAGES, LEAST_SHARE, LEAST_KINDS = 10, 0.2, 2.5
#: And a name of too great a share: share of all, times the even share.
LEAST_UNEVEN_SHARE, LEAST_TIMES = 0.1, 4.0
#: From here on there is nothing to measure a name by.
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class WideName:
    """A name of more images than it can mean.

    Attributes:
        name: The name.
        images, of: Its images, and all that have a name.
        kinds: How many kinds of things they look like; None if the other names are too few to tell.
        times: Its share, in even shares; None if too few images have other names.
    """

    name: str
    images: int
    of: int
    kinds: float | None
    times: float | None = None

    @property
    def looks_wide(self) -> bool:
        enough = self.images >= LEAST_SHARE * self.of
        return enough and self.kinds is not None and self.kinds > LEAST_KINDS

    @property
    def implausible(self) -> bool:
        """Whether there is something to warn of."""
        if self.images < LEAST_IMAGES:
            return False
        uneven = self.images >= LEAST_UNEVEN_SHARE * self.of and (self.times or 0) >= LEAST_TIMES
        return self.looks_wide or uneven or (self.kinds is None and self.images >= _NEARLY_ALL * self.of)

    def __str__(self) -> str:
        share = f"“{self.name}” is the name of {self.images} of {self.of} images"
        if not self.looks_wide and self.times is not None:
            even = f"{self.times:.0f} times an even share among so many names"
            return f"{share}, {even}: look whether it fits them (--block leaves it out)"
        if self.kinds is None:
            return f"{share}: if they show different things, it is wrong for most (--block leaves it out)"
        kinds = f"about {self.kinds:.0f}" if self.kinds < 10 else "many"
        wrong = "it may be wrong for most (--block leaves it out)"
        return f"{share}, which look like {kinds} kinds of things: {wrong}"


class NameSpread:
    """How alike the images of each name are, from sums."""

    def __init__(self) -> None:
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._counts: dict[str, int] = {}

    def add(self, images: NDArray[np.float64], names: Sequence[str | None]) -> None:
        """Count images: unit rows [N, D], and the name of each; None for none."""
        for row, name in zip(images, names, strict=True):
            if name is not None:
                self._sums[name] = self._sums[name] + row if name in self._sums else row.copy()
                self._counts[name] = self._counts.get(name, 0) + 1

    def wide(self) -> list[WideName]:
        """The names that take too much, the one of the most images first."""
        if not self._counts:
            return []
        names = sorted(self._counts, key=lambda name: (-self._counts[name], name))
        counts = np.array([self._counts[name] for name in names], dtype=np.float64)
        sums = np.stack([self._sums[name] for name in names])
        total = int(counts.sum())
        within = (sums**2).sum(1) - counts  # of ordered pairs of two images; a row's with itself is 1
        pairs = counts * (counts - 1)
        apart = total**2 - (counts**2).sum()
        between = ((sums.sum(0) ** 2).sum() - (sums**2).sum()) / apart if apart else None
        found = []
        for place, name in enumerate(names):
            if counts[place] < LEAST_IMAGES:
                break
            kinds = None if between is None else _kinds(within, pairs, counts, place, float(between))
            each = WideName(name, int(counts[place]), total, kinds, _times(counts, place))
            if each.implausible:
                found.append(each)
        return found


def _times(counts: NDArray[np.float64], place: int) -> float | None:
    """The share of a name in even shares; None if fewer than ten images have another name."""
    others = np.delete(counts, place)
    if others.sum() < LEAST_IMAGES:
        return None
    names = others.sum() ** 2 / (others**2).sum()
    return float(counts[place] / counts.sum() * (names + 1))


def _kinds(
    within: NDArray[np.float64],
    pairs: NDArray[np.float64],
    counts: NDArray[np.float64],
    place: int,
    between: float,
) -> float | None:
    """m of a name; None if fewer than ten images have another name that two or more have."""
    others = pairs > 0
    others[place] = False
    if counts[others].sum() < LEAST_IMAGES:
        return None
    alike = float(np.average(within[others] / pairs[others], weights=counts[others])) - between
    if alike <= 0:  # the other names do not hold together either: no measure
        return None
    own = float(within[place] / pairs[place]) - between
    return alike / own if own > 0 else float("inf")


class Watched:
    """A method of naming that counts what it names."""

    def __init__(self, method: NamingMethod) -> None:
        self.method, self.spread = method, NameSpread()

    @property
    def encoder(self) -> Encoder:
        return self.method.encoder

    def __call__(self, image_embeddings: Tensor) -> list[Naming]:
        found = self.method(image_embeddings)
        rows = image_embeddings.double().cpu().numpy()
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        self.spread.add(rows, [None if naming.fallback else naming.label for naming in found])
        return found
