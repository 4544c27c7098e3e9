"""Sets made up so that it is known what is wrong with them: what a search must find, and what it must not.

A space with orthogonal directions for classes, their attributes, backgrounds and the looks of groups. Images
of a class are the sum of its direction, its attributes, the look of their group and noise. Images of the
first class also have a background: green grass in half of the groups, its opposite, sand, in the others. If
bias is planted, one of the first class's descriptors speaks of grass; then its images on sand are taken for
others.
Nothing planted: backgrounds and looks are the same, but no descriptor speaks of them: groups cannot matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlcls.classifiers import PromptClassifier
from vlcls.errors import EvaluationError
from vlcls.labelled import LabelledEmbeddings
from vlcls.labels import as_labels
from vlcls.prompts import Prompt, PromptSet

WIDTH = 64
#: Groups with grass behind the first class, and without.
GROUPS = ("meadow", "park", "beach", "desert")
LACKING = ("beach", "desert")
DESCRIPTOR = "standing on green grass"
_NAMES = ("cow", "horse", "sheep", "goat", "donkey", "camel")
_NOISE = 0.5


@dataclass(frozen=True, eq=False)
class PlantedSet:
    """A set with or without something wrong.

    Attributes:
        classifier: Four descriptors a class; mean of similarities.
        images: With the column "place"; classes and groups are all equally frequent.
        words, word_embeddings: A vocabulary: Tensor[T, D], unit rows.
        text_embeddings: Of every text that there is, by text.
    """

    classifier: PromptClassifier
    images: LabelledEmbeddings
    words: tuple[str, ...]
    word_embeddings: Tensor
    text_embeddings: dict[str, Tensor]


def planted_set(
    seed: int, *, planted: bool = True, classes: int = 3, per_cell: int = 60, strength: float = 2.0
) -> PlantedSet:
    """Make a set.

    Args:
        seed: Of everything.
        planted: Whether a descriptor speaks of the background.
        classes: 2 to 6.
        per_cell: Images of each class in each group.
        strength: Length of the background in an image; that of a class is 1.

    Raises:
        EvaluationError: Another number of classes.
    """
    if not 2 <= classes <= len(_NAMES):
        raise EvaluationError(f"a planted set has 2 to {len(_NAMES)} classes, not {classes}")
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0].T
    own, attributes = axes[:classes], axes[classes : 5 * classes].reshape(classes, 4, WIDTH)
    grass, *looks = axes[5 * classes : 5 * classes + 1 + len(GROUPS)]
    names = _NAMES[:classes]
    texts: dict[str, np.ndarray] = {}
    prompts: list[Prompt] = []
    for index, name in enumerate(names):
        for place in range(4):
            if planted and index == place == 0:
                text, vector = DESCRIPTOR, 0.3 * own[0] + 0.95 * grass
            else:
                text, vector = (
                    f"mark {place + 1} of a {name}",
                    0.6 * own[index] + 0.8 * attributes[index, place],
                )
            texts[text] = vector
            prompts.append(Prompt(f"{name}: {text}", index, "descriptor", descriptor=text))
    words = {"green grass": grass, "yellow sand": -grass} | {
        f"a {group}": look for group, look in zip(GROUPS, looks, strict=True)
    }
    words |= {
        f"mark {place + 1} of a {name}": attributes[i, place]
        for i, name in enumerate(names)
        for place in range(4)
    }
    truth = np.repeat(np.arange(classes), len(GROUPS) * per_cell)
    places = np.tile(np.repeat(np.arange(len(GROUPS)), per_cell), classes)
    signs = np.where(np.isin(np.array(GROUPS)[places], LACKING), -strength, strength) * (truth == 0)
    rows = own[truth] + 0.5 * attributes[truth].sum(1) + np.array(looks)[places] + signs[:, None] * grass
    rows = rows + _NOISE * rng.normal(size=rows.shape)
    images = LabelledEmbeddings(
        _unit(rows),
        torch.from_numpy(truth),
        {"place": tuple(GROUPS[place] for place in places)},
        tuple(
            f"{GROUPS[place]}/{names[index]}/{row}.png"
            for row, (index, place) in enumerate(zip(truth, places, strict=True))
        ),
    )
    known = {text: _unit(vector[None])[0] for text, vector in (texts | words).items()}
    table = torch.stack([known[prompt.descriptor] for prompt in prompts])
    classifier = PromptClassifier(
        PromptSet(as_labels(names), tuple(prompts)), table, aggregate="mean-similarity"
    )
    return PlantedSet(classifier, images, tuple(words), torch.stack([known[word] for word in words]), known)


def _unit(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).float()
