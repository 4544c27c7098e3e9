"""What an editing session works on: images of known classes, embedded and split, and a classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from vlcls.classifiers import load
from vlcls.classifiers.base import open_store
from vlcls.classifiers.prompt import classifier_from_prompts
from vlcls.descriptors import Descriptor, DescriptorSet, read_descriptors
from vlcls.errors import EvaluationError, VlclsError
from vlcls.evaluation.data import open_set
from vlcls.evaluation.data.parts import joined_parts
from vlcls.evaluation.run.embedded import embed_set
from vlcls.labelled.splits import held_out_of_copies
from vlcls.limits import readable
from vlcls.prompts import PromptSet, class_prompts
from vlcls.prompts.phrasing import DEFAULT_PHRASING, PHRASINGS
from vlcls.prompts.templates import puts_an

if TYPE_CHECKING:
    from torch import Tensor

    from vlcls.classifiers import PromptClassifier
    from vlcls.encoders import Encoder
    from vlcls.evaluation.data.parts import EvaluationSet
    from vlcls.evaluation.run.embedded import EmbeddedSet
    from vlcls.image_sources import ImageSource

#: Source of descriptors that were found in a saved classifier.
CLASSIFIER = "classifier"

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Wording:
    """How descriptors become prompts; see `vlcls.prompts.class_prompts`."""

    phrasing: str = DEFAULT_PHRASING
    templates: str | Path | Sequence[str] | None = None
    articles: bool | None = None

    def prompts(self, descriptors: DescriptorSet) -> PromptSet:
        return class_prompts(
            None, self.templates, descriptors, phrasing=self.phrasing, articles=self.articles
        )

    @property
    def told(self) -> str:
        """For people and for comparing."""
        given = self.templates
        if given is not None and not isinstance(given, (str, Path)):
            given = "; ".join(given)
        # A list was read from a saved classifier, whose texts say it themselves.
        literal = isinstance(self.templates, (str, Path)) and not puts_an(self.templates, self.articles)
        return f"{self.phrasing}, templates {given}" + ", letter for letter" * literal


@dataclass(frozen=True, eq=False)
class Subset:
    """Some of the images.

    Attributes:
        rows: int64[n]: their places among all images.
        embeddings: Tensor[n, D].
        truth: Tensor[n] int64.
        groups: Columns of n values.
    """

    rows: np.ndarray
    embeddings: Tensor
    truth: Tensor
    groups: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Material:
    """What stays the same during a session.

    Attributes:
        name: Of the data set.
        content: SHA-256 of its images and classes.
        sources, names: Of all N images that could be read.
        shown, held: The images to look at while editing, and those held out.
        start: The classifier before any edit.
        descriptors, wording: What it is made of.
        unread: Images that could not be read.
        split: How the images were split, for people and for comparing.
    """

    name: str
    content: str
    sources: Sequence[ImageSource]
    names: Sequence[str]
    shown: Subset
    held: Subset
    start: PromptClassifier
    descriptors: DescriptorSet
    wording: Wording
    unread: int
    split: str

    def about(self) -> dict[str, str]:
        """What a session of it belongs to."""
        info = self.start.encoder_info
        about = {
            "images": self.name,
            "images content": self.content,
            "encoder": info.spec if info else "",
            "encoder fingerprint": info.fingerprint if info else "",
            "wording": self.wording.told,
            "aggregate": self.start.aggregate,
            "split": self.split,
        }
        return {key: readable(value) for key, value in about.items()}


def open_descriptors(
    given: str, encoder: Callable[[], Encoder], wording: Wording, *, aggregate: str | None, cache: bool | str
) -> tuple[PromptClassifier, DescriptorSet]:
    """The classifier of a descriptor file or built-in set."""
    descriptors = read_descriptors(given)
    prompts = wording.prompts(descriptors)  # refused before a model is loaded
    return classifier_from_prompts(prompts, encoder(), aggregate=aggregate, cache=cache), descriptors


def open_classifier(folder: str, encoder: str | None) -> tuple[PromptClassifier, DescriptorSet, Wording]:
    """A saved classifier, and the descriptors and the wording that give exactly its prompts.

    Raises:
        VlclsError: It is not made of prompts, or of others than descriptors make.
    """
    from vlcls.classifiers import PromptClassifier

    classifier = load(folder, encoder)
    if not isinstance(classifier, PromptClassifier):
        raise VlclsError(f"{folder}: a {type(classifier).__name__} has no descriptors to edit")
    descriptors = _descriptors_of(classifier, folder)
    numbered = {p.template: p.source for p in classifier.prompts if p.template is not None}
    templates = [numbered[number] for number in sorted(numbered)] or None
    wanted = _pieces(classifier.prompts)
    for articles in (True, False):
        for phrasing in PHRASINGS:
            wording = Wording(phrasing, templates, articles)
            if _pieces(wording.prompts(descriptors)) == wanted:
                return classifier, descriptors, wording
    raise VlclsError(
        f"{folder}: its prompts are not what descriptors give in any of the known phrasings "
        f"({', '.join(PHRASINGS)}): edit the descriptor file that it was made of"
    )


def _pieces(prompts: PromptSet) -> list[tuple[int, str, float]]:
    return [(prompt.class_index, prompt.text, prompt.weight) for prompt in prompts]


def _descriptors_of(classifier: PromptClassifier, folder: str) -> DescriptorSet:
    own: list[dict[str, Descriptor]] = [{} for _ in classifier.labels.names]
    kinds = set()
    for prompt in classifier.prompts:
        if prompt.descriptor:
            kinds.add(prompt.kind)
            own[prompt.class_index][prompt.descriptor] = Descriptor(
                prompt.descriptor, CLASSIFIER, prompt.weight
            )
    return DescriptorSet(
        classifier.labels,
        tuple(tuple(each.values()) for each in own),
        "sentences" if kinds == {"sentence"} else "descriptors",
        {CLASSIFIER: {"folder": Path(folder).name}},
    )


def open_images(
    path: str, classifier: PromptClassifier, groups: Sequence[str], split: str | None = None
) -> EvaluationSet:
    """The images to edit with.

    Raises:
        EvaluationError: Images with several classes each.
    """
    given = open_set(path, labels=classifier.labels, group_columns=groups, split=split)
    if given.multi_label:
        raise EvaluationError(f"{path}: its images have several classes each; the editor needs one each")
    return given


def prepare(
    given: EvaluationSet, classifier: PromptClassifier, descriptors: DescriptorSet, wording: Wording, *,
    held_out_share: float, seed: int, cache: bool | str, progress: Progress | None = None,
) -> Material:  # fmt: skip
    """Embed the images and split them.

    Raises:
        EvaluationError: No image can be read, or none would be shown.
        VlclsError: The classifier weighs prompts for each image.
    """
    if classifier.weighting is not None:
        raise VlclsError(
            f"under {classifier.weighting.name} every edit changes all weights of an image: edit the "
            "classifier without its weighting"
        )
    embedded = embed_set(given, classifier.encoder, store=open_store(cache), progress=progress)
    sources = [each for each in joined_parts(given.parts(None)).sources if each.name not in embedded.errors]
    if [each.name for each in sources] != list(embedded.names):
        raise EvaluationError(f"{given.name}: images that share a name, some of them unreadable: rename them")
    strata = (embedded.classes, *embedded.groups.values())
    out = held_out_of_copies(embedded.embeddings.numpy(), strata, share=held_out_share, seed=seed)
    if out.all():
        raise EvaluationError(f"{given.name}: no image is left to be shown: hold out less")
    return Material(
        given.name, embedded.content, sources, embedded.names, _subset(embedded, ~out),
        _subset(embedded, out), classifier, descriptors, wording, len(embedded.errors),
        f"{held_out_share:g} held out, seed {seed}",
    )  # fmt: skip


def _subset(embedded: EmbeddedSet, chosen: np.ndarray) -> Subset:
    rows = np.flatnonzero(chosen)
    groups = {
        column: tuple(values[row] for row in rows.tolist()) for column, values in embedded.groups.items()
    }
    truth = torch.from_numpy(embedded.classes[rows])
    return Subset(rows, embedded.embeddings[torch.from_numpy(rows)], truth, groups)
