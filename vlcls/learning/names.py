"""Learning class names from labelled images: the whole way, from a data set to a classifier."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from vlcls.arguments import takes
from vlcls.classifiers import PromptClassifier, build_classifier
from vlcls.classifiers.base import open_store
from vlcls.classifiers.fitted import Fitted
from vlcls.classifiers.prompt import DEFAULT_ENCODER
from vlcls.errors import LabelError
from vlcls.labelled import (
    LabelledEmbeddings,
    LabelledImages,
    class_places,
    embed_labelled,
    labelled_dataset,
    labelled_folder,
)
from vlcls.labels import Labels, as_labels
from vlcls.learning.checkpoint import Epoch, State
from vlcls.learning.memory import peak_memory
from vlcls.learning.problem import LearningProblem, start_vectors
from vlcls.learning.result import NameLearning
from vlcls.learning.split import split_shots
from vlcls.learning.training import Examples, Training, train
from vlcls.prompts import LearnedName, PromptSet, with_learned_names, with_slots

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

Classes: TypeAlias = "PromptClassifier | Labels | Mapping[str, str] | Iterable[str]"


@takes(
    templates="templates?",
    shots="count?",
    validation="number?",
    folder="path?",
    device="device?",
    precision="precision?",
    cache="cache",
    progress="function?",
)
def learn_names(
    classes: Classes | None,
    images: LabelledEmbeddings | LabelledImages | str | Path | Any,
    encoder: str | Encoder = DEFAULT_ENCODER,
    templates: str | Path | Sequence[str] | None = None,
    *,
    settings: Training | None = None,
    shots: int | None = None,
    validation: float | None = None,
    folder: str | Path | None = None,
    device: str | None = None,
    precision: Literal["fp32", "bf16", "fp16"] | None = None,
    cache: bool | str | Path = True,
    progress: Callable[[Epoch], None] | None = None,
) -> NameLearning:
    """Learn the names of classes from labelled images, everything else frozen.

    Classes without images keep their names and prompts, and stay usable in the same classifier; they take no
    part in the loss. A class with images keeps its prompts that were made of templates (descriptors go; with
    none left it gets "a photo of a {}."). Names that are learned already and have no images here stay as they
    are; those that have are learned on.

    Args:
        classes: Class names, or a classifier whose prompts, aggregate and encoder are used. None for the
            classes of the images.
        images: A folder FOLDER/CLASS/, a `datasets.Dataset` with columns "image" and "label", or what
            `vlcls.labelled` makes of others. `LabelledEmbeddings` need `classes`.
        encoder, templates, device, precision: As for `build_classifier`; unused if `classes` is a classifier.
        settings: How to learn.
        shots: Images a class to learn from; all if not given. Which, the seed of the settings says.
        validation: Share of each class's images that tell when to stop; 0.2, or with `shots` 0.
        folder: Where checkpoints go; a run that was killed goes on from there. None for no checkpoints.
        cache: Keep embeddings on disk: True, False, or a folder.
        progress: Told each epoch.

    Raises:
        LabelError: The images' classes are not among `classes`.
        VlclsError: See `Training`, `split_shots`, `train`.
    """
    if isinstance(classes, PromptClassifier):
        found = _labelled(images, classes.labels)
    else:
        labels = None if classes is None else as_labels(classes)
        found = _labelled(images, labels)
        if labels is None:
            if isinstance(found, LabelledEmbeddings):
                raise LabelError("embeddings have no class names: give `classes`")
            labels = found.labels
        classes = build_classifier(
            labels, encoder, templates, device=device, precision=precision, cache=cache
        )
    embedded = _embedded(found, classes, cache)
    return learn_from_embeddings(
        classes, embedded, settings=settings, shots=shots, validation=validation, folder=folder, cache=cache,
        progress=progress,
    )  # fmt: skip


def learn_from_embeddings(
    before: PromptClassifier,
    embedded: LabelledEmbeddings,
    *,
    settings: Training | None = None,
    shots: int | None = None,
    validation: float | None = None,
    folder: str | Path | None = None,
    cache: bool | str | Path = True,
    progress: Callable[[Epoch], None] | None = None,
) -> NameLearning:
    """`learn_names` for a classifier and images that are embedded already; arguments as there."""
    settings = settings or Training()
    share = (0.0 if shots else 0.2) if validation is None else validation
    split = split_shots(embedded.class_indices, shots=shots, validation=share, seed=settings.seed)
    learned = tuple(embedded.class_indices[split.train].unique().tolist())
    prompts = with_slots(before.prompts, learned)
    some = _of_classes(prompts, learned)
    start = start_vectors(before.encoder, some, settings.vectors)
    problem = LearningProblem(before.encoder, some, start.counts, before.aggregate, settings.tokens_at_once)
    place = torch.full((len(before.labels),), -1)
    place[list(learned)] = torch.arange(len(learned))

    def examples(rows: Tensor) -> Examples:
        return Examples(embedded.embeddings[rows], place[embedded.class_indices[rows]])

    state = train(
        problem, start, examples(split.train), examples(split.validation), settings,
        folder=None if folder is None else Path(folder).expanduser(), progress=progress,
    )  # fmt: skip
    names = _names(state, start.counts, some, before.encoder.fingerprint)
    new = with_learned_names(prompts, dict(zip(learned, names, strict=True)))
    classifier = before.with_prompts(new, cache=cache)
    # Validation images choose the epoch: they were not learned from, and yet not unseen.
    seen = [*split.train.tolist(), *split.validation.tolist()]
    earlier = before.fitted if before.prompts.learned else Fitted()
    classifier.fitted = earlier | Fitted.on([embedded.keys[row] for row in seen if embedded.keys], len(seen))
    return NameLearning(
        classifier, before.with_prompts(prompts, cache=cache), learned, embedded, split, state.history,
        state.best_epoch, settings, peak_memory(before.encoder.device),
    )  # fmt: skip


def _of_classes(prompts: PromptSet, indices: Sequence[int]) -> PromptSet:
    """Some of the classes alone, numbered anew."""
    return PromptSet(
        prompts.labels.some(indices),
        tuple(
            replace(prompt, class_index=place)
            for place, index in enumerate(indices)
            for prompt in prompts.of_class(index)
        ),
    )


def _names(
    state: State, counts: Sequence[int], prompts: PromptSet, fingerprint: str
) -> tuple[LearnedName, ...]:
    pairs = zip(prompts.labels.names, state.best.split(list(counts)), strict=True)
    return tuple(LearnedName(name, rows.clone(), fingerprint) for name, rows in pairs)


def _labelled(images: Any, labels: Labels | None) -> LabelledEmbeddings | LabelledImages:
    if isinstance(images, (LabelledEmbeddings, LabelledImages)):
        return images
    if isinstance(images, (str, os.PathLike)):
        return labelled_folder(Path(images), labels)
    return labelled_dataset(images, labels)


def _embedded(
    images: LabelledEmbeddings | LabelledImages, classifier: PromptClassifier, cache: bool | str | Path
) -> LabelledEmbeddings:
    """Embeddings of the images, their classes as places in the classifier's labels."""
    count = len(classifier.labels)
    if isinstance(images, LabelledEmbeddings):
        indices = images.class_indices
        if not len(indices) or int(indices.min()) < 0 or int(indices.max()) >= count:
            raise LabelError(f"class indices of the images (there must be some) must be 0 to {count - 1}")
        return images
    embedded = embed_labelled(images, classifier.encoder, store=open_store(cache))
    if images.labels == classifier.labels:
        return embedded
    places = class_places(images.labels.ids, classifier.labels, "the images")
    order = torch.tensor([places[identifier] for identifier in images.labels.ids])
    return replace(embedded, class_indices=order[embedded.class_indices])
