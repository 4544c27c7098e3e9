"""Which words of a vocabulary an image shows, by the encoder that is also the classifier's.

A tagger that shares the classifier's encoder can repeat the classifier's own mistakes as if they were seen in
the images: a word near the elephant's prompts is "found" on dogs that are taken for elephants. Two
things are therefore taken out of a word's embedding before it meets an image:

- the mean of the vocabulary, and with it how similar an image is to any text at all;
- what the classifier itself looks at: the projection onto the space spanned by differences between its class
  vectors. What is left of a word cannot, by geometry alone, say which class wins.

A word counts as present where what is left is at least `above` standard deviations over its mean over the
images. This needs no labels; higher is more precise and finds fewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlcls.classifiers.base import unit_rows
from vlcls.errors import EmbeddingError

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier

#: At most this part of the dimensions is what a classifier looks at: with more classes, the directions in
#: which they differ most.
_LARGEST_SPACE = 0.25
#: A word of which less than this is left (its length, at first 1) says nothing of its own.
_SHORTEST = 1e-3


@dataclass(frozen=True, eq=False)
class Tags:
    """What N images show.

    Attributes:
        words: T words.
        present: bool[N, T].
    """

    words: tuple[str, ...]
    present: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Tagger:
    """T words with a threshold each.

    Attributes:
        words: T words.
        directions: float64[T, D], what is left of their embeddings.
        thresholds: float64[T].
    """

    words: tuple[str, ...]
    directions: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    def similarities(self, images: Any) -> NDArray[np.float64]:
        """Of image embeddings [N, D]: float64[N, T]."""
        rows = unit_rows(images, "image embeddings").cpu().double().numpy()
        found: NDArray[np.float64] = rows @ self.directions.T
        return found

    def __call__(self, images: Any) -> Tags:
        return Tags(self.words, self.similarities(images) >= self.thresholds)


def fit_tagger(
    words: Sequence[str],
    word_embeddings: Any,
    images: Any,
    classifier: PromptClassifier,
    *,
    above: float = 1.0,
) -> Tagger:
    """Choose thresholds on images; their classes are not asked for.

    Args:
        words: T distinct words or phrases.
        word_embeddings: [T, D], of the classifier's encoder.
        images: [N, D] image embeddings.
        classifier: Whose view is taken out of the words.
        above: Standard deviations over the mean from which on a word counts as present.

    Raises:
        EmbeddingError: Counts or widths that do not fit.
    """
    rows = unit_rows(word_embeddings, "word embeddings").cpu().double().numpy()
    if len(rows) != len(words):
        raise EmbeddingError(f"{len(rows)} embeddings for {len(words)} words")
    classifier.check_width(rows, "word embeddings")
    if len(rows) > 1:
        rows = rows - rows.mean(0)
    space = _space(classifier)
    rows = rows - rows @ space.T @ space
    kept = np.linalg.norm(rows, axis=1) >= _SHORTEST
    tagger = Tagger(
        tuple(word for word, keep in zip(words, kept, strict=True) if keep),
        rows[kept],
        np.zeros(int(kept.sum())),
    )
    found = tagger.similarities(images)
    return Tagger(tagger.words, tagger.directions, found.mean(0) + above * found.std(0))


def group_tags(groups: Mapping[str, Sequence[str]], count: int) -> Tags:
    """The groups themselves as words, "domain: sketch", of `count` images."""
    words: list[str] = []
    columns = [np.zeros((count, 0), dtype=np.bool_)]
    for name, values in groups.items():
        column = np.asarray(values, dtype=str)
        known = np.unique(column)
        words += [f"{name}: {value}" for value in known.tolist()]
        columns.append(column[:, None] == known)
    return Tags(tuple(words), np.concatenate(columns, axis=1))


def joined_tags(*tags: Tags) -> Tags:
    """Several vocabularies of the same images side by side."""
    return Tags(
        tuple(word for each in tags for word in each.words),
        np.concatenate([each.present for each in tags], axis=1),
    )


def _space(classifier: PromptClassifier) -> NDArray[np.float64]:
    """An orthonormal basis float64[R, D] of what the classifier looks at."""
    rows = classifier.scorer.directions(classifier.bank).cpu().double().numpy()
    _, lengths, basis = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    rank = int((lengths > 1e-9 * max(lengths.max(), 1e-300)).sum()) if lengths.max() > 0 else 0
    space: NDArray[np.float64] = basis[: min(rank, int(_LARGEST_SPACE * rows.shape[1]))]
    return space
