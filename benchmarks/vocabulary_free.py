"""How good names are that nobody gave: CaSED and what its paper compares it with, on labelled photographs.

The tables of docs/discover.md come from here.

    python benchmarks/vocabulary_free.py pacs-mini/photo
    python benchmarks/vocabulary_free.py pacs-mini/photo --captions coco/
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import vlcls
from vlcls.classifiers.cased import Cased
from vlcls.classifiers.vocabulary_free import (
    ClosestCaption,
    FixedVocabulary,
    Naming,
    NamingMethod,
    vocabulary_of,
)
from vlcls.evaluation.metrics.vocabulary_free import (
    cluster_accuracy,
    macro_cluster_accuracy,
    semantic_iou,
    semantic_similarity,
)
from vlcls.imagenet import class_names
from vlcls.labelled import embed_labelled, labelled_folder
from vlcls.retrieval import open_captions
from vlcls.retrieval.builtin import wordnet_words
from vlcls.store import EmbeddingStore

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
HEADER = ("cluster accuracy", "macro", "semantic similarity", "semantic IoU", "different names")


def metrics(namings: Sequence[Naming], targets: Sequence[str]) -> list[str]:
    names = [naming.label or "" for naming in namings]
    values = [
        measure(names, targets)
        for measure in (cluster_accuracy, macro_cluster_accuracy, semantic_similarity, semantic_iou)
    ]
    return [*(f"{100 * value:.1f}" for value in values), str(len(set(names)))]


def table(rows: dict[str, Sequence[Naming]], targets: Sequence[str], title: str) -> None:
    print(f"| {title} | {' | '.join(HEADER)} |\n|{' --- |' * (len(HEADER) + 1)}")
    for name, namings in rows.items():
        print(f"| {name} | {' | '.join(metrics(namings, targets))} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", type=Path, help="FOLDER/CLASS/")
    parser.add_argument("--captions", default="wordnet", help="database (default: %(default)s)")
    parser.add_argument("--encoder", default="conse", help="spec (default: %(default)s)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    store, encoder = EmbeddingStore(), vlcls.load_encoder(options.encoder)
    labelled = labelled_folder(options.images)
    embedded = embed_labelled(labelled, encoder, store=store)
    targets = [labelled.labels.names[index] for index in embedded.class_indices.tolist()]
    database = open_captions(options.captions, encoder, store=store)

    def run(method: NamingMethod) -> list[Naming]:
        return method(embedded.embeddings)

    with Cased(database, encoder) as cased:
        found = run(cased)
    table(
        {
            "CaSED": found,
            "closest caption": run(ClosestCaption(database, encoder)),
            "all names of WordNet": run(FixedVocabulary(wordnet_words(), encoder, store=store)),
            "ImageNet's 1000 names": run(FixedVocabulary(class_names(), encoder, store=store)),
            "upper bound: the true names": run(FixedVocabulary(labelled.labels.names, encoder, store=store)),
        },
        targets,
        f"{len(targets)} photos, {len(labelled.labels)} classes",
    )
    votes: dict[str, Sequence[Naming]] = {}
    for alpha in ALPHAS:
        with Cased(database, encoder, alpha=alpha) as cased:
            votes[f"{alpha:g}"] = run(cased)
    table(votes, targets, "alpha")
    names = list(vocabulary_of(found).items())
    print(f"{len(names)} names; most frequent:", ", ".join(f"{name} {count}" for name, count in names[:10]))
    print(f"{sum(naming.fallback for naming in found)} fallbacks;", end=" ")
    candidates = [len(naming.candidates) for naming in found]
    print(f"{sum(candidates) / len(found):.1f} candidates an image ({min(candidates)} to {max(candidates)})")
    held = sum(target in {p.label for p in n.candidates} for n, target in zip(found, targets, strict=True))
    print(f"the true name is among the candidates of {held} of {len(found)} photos")


if __name__ == "__main__":
    main()
