"""A scorer that vlcls does not have, as another package would add it: see `vlcls.classifiers.scorers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlcls.classifiers.scorers import SCORERS, Pooled

if TYPE_CHECKING:
    from torch import Tensor


class Top3(Pooled):
    name = "top3"
    about = "the mean of its three greatest similarities"

    def shares(self, cosines: Tensor, weights: Tensor) -> Tensor:
        there = (weights > 0).expand_as(cosines)
        best = cosines.masked_fill(~there, -2).topk(min(3, cosines.shape[-1])).indices
        chosen = cosines.new_zeros(cosines.shape).scatter(-1, best, 1.0) * there
        return chosen / chosen.sum(-1, keepdim=True)


TOP3 = Top3()

if __name__ == "__main__":
    SCORERS.register(TOP3)

    from vlcls.cli import main

    main()
