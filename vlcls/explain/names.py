"""Reading learned names: which words they are like, which class they are near, which labels they doubt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.classifiers import PromptClassifier
from vlcls.errors import LabelError, VlclsError
from vlcls.explain.vocabulary import NearWord, Vocabulary
from vlcls.labels import clean_name
from vlcls.prompts import PromptSet, parts_around_name, renamed_texts, with_plain_names
from vlcls.slots import Slot, slot_ids

if TYPE_CHECKING:
    from vlcls.labelled import LabelledEmbeddings
    from vlcls.prompts import LearnedName


@dataclass(frozen=True)
class VectorReading:
    """One vector of a learned name.

    Attributes:
        original: The token it began as; the whole name if it began as a mean of several.
        nearest: Whole words of the vocabulary, nearest first.
        rank: Place of the original among the words, by cosine; 1 if it is the nearest still.
        moved: How far it is from where it began, as a share of that vector's length.
        cosine: With where it began.
    """

    original: str
    nearest: tuple[NearWord, ...]
    rank: int
    moved: float
    cosine: float


@dataclass(frozen=True)
class NameReading:
    """One learned name.

    Attributes:
        label: The class, as `Labels.reported` has it.
        index: Its place in the labels.
        vectors: Its vectors, in order.
        own: Cosine of its text embedding with that of its class's plain name.
        nearest_label: The class whose plain name has the text embedding nearest to its own.
        nearest_cosine: How near that is.
    """

    label: str
    index: int
    vectors: tuple[VectorReading, ...]
    own: float
    nearest_label: str
    nearest_cosine: float

    @property
    def strayed(self) -> bool:
        """Whether it is nearer to another class's name than to its own."""
        return self.nearest_label != self.label


@dataclass(frozen=True)
class Doubt:
    """An image whose label is in doubt: the classifier, or a probe of other images, says another class.

    Attributes:
        image: Its name.
        row: Its place among the images.
        label: What it is labelled.
        predicted: What is said in its place.
        score: How much it is doubted, 0 to 1: see `doubted_labels` and `doubted_out_of_fold`.
    """

    image: str
    row: int
    label: str
    predicted: str
    score: float


@dataclass(frozen=True)
class NameSuggestion:
    """A real name that a learned one could be called.

    Attributes:
        name: The name.
        cosine: Of its text embedding with the learned name's.
    """

    name: str
    cosine: float


def read_names(classifier: PromptClassifier, *, words: int = 5) -> tuple[NameReading, ...]:
    """What each learned name is like; classes with plain names are left out.

    Args:
        classifier: With learned names.
        words: How many of the nearest words.

    Raises:
        VlclsError: No name is learned.
    """
    learned = _learned(classifier.prompts)
    encoder = classifier.encoder
    vocabulary = Vocabulary(encoder)
    spellings = {token_id: token for token, token_id in encoder.vocabulary.items()}
    plain = classifier.with_prompts(with_plain_names(classifier.prompts))
    near = classifier.zero_shot_weights.cpu() @ plain.zero_shot_weights.cpu().T
    readings = []
    for index, name in learned.items():
        ids = slot_ids(encoder, [_slot(classifier.prompts, index)])[0]
        tokens = [_spelt(spellings.get(int(i), "?")) for i in ids]
        starts = encoder.embed_tokens(ids[None])[0].cpu()
        if len(starts) != len(name.vectors):
            starts, tokens = starts.mean(0, keepdim=True), [name.name]
        vectors = tuple(
            _read_vector(vocabulary, vector, start, token, words)
            for vector, start, token in zip(name.vectors, starts, tokens, strict=True)
        )
        best = int(near[index].argmax())
        reported = classifier.labels.reported
        own, nearest = float(near[index, index]), float(near[index, best])
        readings.append(NameReading(reported[index], index, vectors, own, reported[best], nearest))
    return tuple(readings)


def doubted_labels(classifier: PromptClassifier, embedded: LabelledEmbeddings) -> tuple[Doubt, ...]:
    """Images whose label the classifier disagrees with, the most confident disagreement first.

    The score is the probability of the predicted class less that of the label: near 1, the model is sure of
    another class; an image that it finds to be like both is near 0.

    Args:
        classifier: Of C classes.
        embedded: N images; their class indices are places in the classifier's labels.
    """
    probabilities = classifier.probabilities(embedded.embeddings).cpu()
    best = probabilities.max(1)
    given = probabilities.gather(1, embedded.class_indices[:, None])[:, 0]
    scores = best.values - given
    wrong = (best.indices != embedded.class_indices).nonzero().flatten()
    order = wrong[scores[wrong].argsort(descending=True, stable=True)]
    return as_doubts(embedded, classifier.labels.reported, order.tolist(), best.indices, scores)


def as_doubts(
    embedded: LabelledEmbeddings, reported: Sequence[str], rows: Sequence[int], predicted: Any, scores: Any
) -> tuple[Doubt, ...]:
    """Some images as doubts, in that order, of predicted classes int[N] and scores [N] of all of them."""
    given = [reported[index] for index in embedded.class_indices.tolist()]
    said = [reported[index] for index in predicted.tolist()]
    return tuple(Doubt(embedded.names[row], row, given[row], said[row], float(scores[row])) for row in rows)


def suggest_names(
    classifier: PromptClassifier,
    candidates: Sequence[str],
    *,
    count: int = 5,
    cache: bool | str | Path = True,
    progress: Callable[[int], None] | None = None,
) -> dict[int, tuple[NameSuggestion, ...]]:
    """The real names nearest to each learned one, in the space where texts meet images.

    Every candidate is put in the class's templates; its embedding is the mean over them, as the class's is.

    Args:
        classifier: With learned names.
        candidates: Names: the lemmas of WordNet (`wordnet_names`), or one's own.
        count: How many for each class.
        cache: Keep the candidates' embeddings on disk.
        progress: Called with the number of texts just embedded.

    Returns:
        By class index, nearest first.

    Raises:
        LabelError: There are no candidates.
    """
    names = list(dict.fromkeys(filter(None, map(clean_name, candidates))))
    if not names:
        raise LabelError("there are no candidate names")
    from vlcls.classifiers.base import open_store
    from vlcls.embeddings import embed_texts

    by_templates: dict[tuple[str, ...], Tensor] = {}
    result = {}
    for index in _learned(classifier.prompts):
        templates = tuple(prompt.source for prompt in classifier.prompts.of_class(index))
        if templates not in by_templates:
            filled = renamed_texts(classifier.prompts, index, names)
            texts = [text for own in filled for text in own]
            rows = embed_texts(texts, classifier.encoder, store=open_store(cache), progress=progress)
            means = rows.view(len(names), len(templates), -1).mean(1)
            by_templates[templates] = F.normalize(means, dim=1).cpu()
        cosines = by_templates[templates] @ classifier.zero_shot_weights[index].cpu()
        best = cosines.topk(min(count, len(names)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        result[index] = tuple(NameSuggestion(names[place], cosine) for place, cosine in pairs)
    return result


def wordnet_names() -> list[str]:
    """The first lemma of each of WordNet's 21,844 nouns that timm ships, each once."""
    from vlcls.wordnet import lemmas

    return list(dict.fromkeys(own[0] for own in lemmas().values()))


def _learned(prompts: PromptSet) -> dict[int, LearnedName]:
    """Learned names by class index."""
    found = {prompt.class_index: prompt.learned for prompt in prompts if prompt.learned is not None}
    if not found:
        raise VlclsError("this classifier has no learned names: `vlcls learn-names` makes them")
    return dict(sorted(found.items()))


def _slot(prompts: PromptSet, index: int) -> Slot:
    """The class's first slot, with its plain name."""
    prompt = next(prompt for prompt in prompts.of_class(index) if prompt.learned is not None)
    assert prompt.learned is not None
    return Slot(*parts_around_name(prompts, prompt), prompt.learned.name)


def _read_vector(
    vocabulary: Vocabulary, vector: Tensor, start: Tensor, token: str, words: int
) -> VectorReading:
    return VectorReading(
        token,
        vocabulary.nearest(vector, words),
        vocabulary.rank(vector, start),
        float((vector - start).norm() / start.norm()),
        float(torch.cosine_similarity(vector, start, dim=0)),
    )


def _spelt(token: str) -> str:
    """A token without the marks of its tokenizer, pieces of words with a dash where they are joined."""
    if token.startswith("##"):
        return f"-{token[2:]}"
    return token.removesuffix("</w>").lstrip("▁Ġ")
