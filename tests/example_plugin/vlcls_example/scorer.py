"""A scorer: what people choose as --aggregate."""

import torch
import torch.nn.functional as F

from vlcls.classifiers.scorers import Pooled


class Middle(Pooled):
    name = "middle"
    about = "midway between the least and the greatest similarity of its prompts"

    def shares(self, cosines, weights):
        gone = weights == 0
        least = cosines.masked_fill(gone, torch.inf).argmin(-1)
        greatest = cosines.masked_fill(gone, -torch.inf).argmax(-1)
        ends = F.one_hot(least, cosines.shape[-1]) + F.one_hot(greatest, cosines.shape[-1])
        return ends.to(cosines.dtype) / 2


MIDDLE = Middle()
