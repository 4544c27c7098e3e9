"""What came of learning names, and how it is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from vlcls.classifiers import PromptClassifier
from vlcls.errors import VlclsError
from vlcls.files.json_text import json_bytes, read_json
from vlcls.files.schema import FileModel
from vlcls.files.writing import write_atomically
from vlcls.labelled import LabelledEmbeddings
from vlcls.learning.checkpoint import Epoch, remove_state
from vlcls.learning.split import ShotSplit
from vlcls.learning.training import Training

#: What `NameLearning.save` writes beside the classifier.
REPORT = "training.json"


class ReportImage(FileModel):
    """One image of `training.json`: its path, the id of its class, and what it was for."""

    image: str
    class_id: str = Field(alias="class")
    part: Literal["train", "validation", "held_out"]


class _Accuracy(FileModel):
    images: int = Field(ge=0)
    before: float | None = Field(ge=0, le=1)
    learned: float | None = Field(ge=0, le=1)


class Report(FileModel):
    """`training.json`."""

    settings: dict[str, Any]
    best_epoch: int = Field(ge=0)
    peak_memory_bytes: int = Field(ge=0)
    accuracy: dict[str, _Accuracy]
    history: tuple[Epoch, ...]
    images: tuple[ReportImage, ...]


def read_report(folder: Path) -> Report | None:
    """What `NameLearning.save` wrote of the learning; None if there is no such file.

    Raises:
        VlclsError: It is damaged.
    """
    path = folder / REPORT
    if not path.exists():
        return None
    try:
        return read_json(path, VlclsError, Report)
    except VlclsError as error:
        raise VlclsError(f"{path} is damaged ({error}): learn the names again") from error


@dataclass(frozen=True)
class NameLearning:
    """The result of `learn_names`.

    Attributes:
        classifier: With the learned names; all else as before.
        before: The classifier it started from.
        learned: Class indices whose names were learned: those with images.
        embedded: The images; their class indices are places in the classifier's labels.
        split: Which of them were learned from, validated with, held out.
        history: The epochs.
        best_epoch: Whose vectors were taken.
        settings: How.
        peak_memory: Bytes, at the end.
    """

    classifier: PromptClassifier
    before: PromptClassifier
    learned: tuple[int, ...]
    embedded: LabelledEmbeddings
    split: ShotSplit
    history: tuple[Epoch, ...]
    best_epoch: int
    settings: Training
    peak_memory: int

    def accuracy(self, classifier: PromptClassifier, rows: Tensor) -> float | None:
        """Of a classifier on some of the images, 0 to 1; None if there are none."""
        if not len(rows):
            return None
        similarities = classifier.similarities(self.embedded.embeddings[rows])
        right = similarities.argmax(1).cpu() == self.embedded.class_indices[rows]
        return float(right.float().mean())

    def report(self) -> dict[str, Any]:
        """What was done and what came of it, as plain data."""
        ids = self.classifier.labels.ids
        part = {row: name for name, rows in vars(self.split).items() for row in rows.tolist()}
        classes = self.embedded.class_indices.tolist()
        names = [name.encode("utf-8", "backslashreplace").decode() for name in self.embedded.names]
        return {
            "settings": asdict(self.settings),
            "best_epoch": self.best_epoch,
            "peak_memory_bytes": self.peak_memory,
            "accuracy": {
                name: {
                    "images": len(rows),
                    "before": self.accuracy(self.before, rows),
                    "learned": self.accuracy(self.classifier, rows),
                }
                for name, rows in vars(self.split).items()
            },
            "history": [vars(epoch) for epoch in self.history],
            "images": [
                {"image": name, "class": ids[index], "part": part[row]}
                for row, (name, index) in enumerate(zip(names, classes, strict=True))
            ],
        }

    def save(self, folder: str | Path) -> Path:
        """The classifier, as `vlcls.load` reads it, and `training.json`; a checkpoint there is done with."""
        target = self.classifier.save_pretrained(folder)
        text = json_bytes(self.report(), target / REPORT, VlclsError, indent=1)
        write_atomically(target / REPORT, text)
        remove_state(target)
        return target
