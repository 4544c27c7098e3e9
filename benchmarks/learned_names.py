"""What learned class names are worth: few labelled images, planted label errors, a wrong name on purpose.

The tables of docs/learned-names.md come from here; that page says on which images the settings' defaults were
chosen. Needs `pip install scikit-learn` for the linear probe and the average precision.

    python benchmarks/learned_names.py pacs-mini --domain cartoon
    python benchmarks/learned_names.py pacs-mini --domain photo --only errors --only renamed
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import vlcls
from vlcls.explain import doubted_labels, doubted_out_of_fold, suggest_names, wordnet_names
from vlcls.labelled import LabelledEmbeddings, embed_labelled, labelled_folder
from vlcls.labels import Labels
from vlcls.learning import Training, learn_from_embeddings
from vlcls.learning.transfer import base_to_novel
from vlcls.store import EmbeddingStore

SHOTS = (1, 2, 4, 8)
#: Inverse penalties of the probe. The one that is best on the held-out images is reported: in its favour.
PROBES = (0.1, 1, 10, 100, 1000)
FLIPPED = 0.1
Rows = Iterator[list[str]]


def spread(values: Sequence[float], of: float = 100) -> str:
    return f"{of * np.mean(values):.1f} ± {of * np.std(values):.1f}"


def probe_accuracies(embedded: LabelledEmbeddings, train: torch.Tensor, test: torch.Tensor) -> list[float]:
    """Of logistic regression on the image embeddings, one for each of `PROBES`."""
    from sklearn.linear_model import LogisticRegression

    x, y = embedded.embeddings.numpy(), embedded.class_indices.numpy()
    fitted = [LogisticRegression(C=c, max_iter=5000).fit(x[train], y[train]) for c in PROBES]
    return [float(each.score(x[test], y[test])) for each in fitted]


def few_shots(plain: vlcls.PromptClassifier, embedded: LabelledEmbeddings, seeds: range) -> Rows:
    yield ["shots", "held out", "zero-shot", "learned names", "one vector a name", "linear probe"]
    for shots in SHOTS:
        columns: dict[str, list[float]] = {"zero-shot": [], "tokens": [], "one": []}
        probes = []
        for seed in seeds:
            for vectors in ("tokens", "one"):
                settings = Training(seed=seed, vectors=vectors)  # type: ignore[arg-type]
                result = learn_from_embeddings(plain, embedded, settings=settings, shots=shots)
                rows = result.split.held_out
                columns[vectors].append(result.accuracy(result.classifier, rows) or 0)
            columns["zero-shot"].append(result.accuracy(result.before, rows) or 0)
            probes.append(probe_accuracies(embedded, result.split.train, rows))
        best = np.array(probes)[:, np.mean(probes, axis=0).argmax()]
        yield [str(shots), str(len(rows)), *(spread(each) for each in (*columns.values(), best))]


def planted_errors(plain: vlcls.PromptClassifier, embedded: LabelledEmbeddings, seeds: range) -> Rows:
    """A tenth (rounded up) of one class's labels are made another class's; the names are learned from all."""
    from sklearn.metrics import average_precision_score

    yield ["class", "flipped", "average precision, learned names", "zero-shot", "out of fold"]
    total: dict[str, list[float]] = {"learned": [], "plain": [], "fold": []}
    count = len(plain.labels)
    for index, name in enumerate(plain.labels.reported):
        own = (embedded.class_indices == index).nonzero().flatten()
        flips = math.ceil(FLIPPED * len(own))
        found: dict[str, list[float]] = {"learned": [], "plain": [], "fold": []}
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            flipped = own[torch.randperm(len(own), generator=generator)[:flips]]
            wrong = embedded.class_indices.clone()
            wrong[flipped] = (index + torch.randint(1, count, (flips,), generator=generator)) % count
            noisy = replace(embedded, class_indices=wrong)
            result = learn_from_embeddings(plain, noisy, validation=0, settings=Training(seed=seed))
            doubts = {
                "learned": doubted_labels(result.classifier, noisy),
                "plain": doubted_labels(plain, noisy),
                "fold": doubted_out_of_fold(noisy, plain.labels.reported, seed=seed).doubts,
            }
            for key, doubted in doubts.items():
                scores = np.zeros(len(noisy))
                for doubt in doubted:
                    scores[doubt.row] = doubt.score
                planted = np.isin(np.arange(len(noisy)), flipped.numpy())
                found[key].append(float(average_precision_score(planted, scores)))
        for key, values in found.items():
            total[key] += values
        yield [name, f"{flips} of {len(own)}", *(f"{np.mean(each):.2f}" for each in found.values())]
    yield ["all", "", *(f"{np.mean(each):.2f}" for each in total.values())]


def renamed(
    encoder: vlcls.Encoder, embedded: LabelledEmbeddings, labels: Labels, wrong: dict[str, str]
) -> Rows:
    """Classes with a wrong name on purpose: what real name is suggested for what was learned?"""
    yield ["truth", "named (cosine with truth)", "penalty", "suggested (cosine with truth)"]
    candidates = wordnet_names()
    for truth, name in wrong.items():
        index = labels.names.index(truth)
        names = tuple(name if place == index else each for place, each in enumerate(labels.names))
        plain = vlcls.build_classifier(Labels(names, names), encoder)
        for penalty in (Training().penalty, 0.0):
            settings = Training(penalty=penalty)
            result = learn_from_embeddings(plain, embedded, validation=0, settings=settings)
            found = suggest_names(result.classifier, candidates, count=3)[index]
            words = (name, *(each.name for each in found))
            rows = encoder.encode_texts([f"a photo of a {word}." for word in (truth, *words)])
            cosines = (rows[1:] @ rows[0]).tolist()
            said = [f"{word} ({cosine:.3f})" for word, cosine in zip(words, cosines, strict=True)]
            yield [truth, said[0], f"{penalty:g}", ", ".join(said[1:])]


def transfer(plain: vlcls.PromptClassifier, embedded: LabelledEmbeddings, seeds: range, shots: int) -> Rows:
    yield [f"{shots} shots", "base", "novel", "harmonic mean"]
    results = [base_to_novel(plain, embedded, settings=Training(seed=seed), shots=shots) for seed in seeds]
    for title, name in (
        ("zero-shot, among their half", "before"),
        ("learned base names, among their half", "learned"),
        ("zero-shot, among all classes", "before_all"),
        ("learned base names, among all classes", "learned_all"),
    ):
        each = [getattr(result, name) for result in results]
        figures = ([a.base for a in each], [a.novel for a in each], [a.harmonic for a in each])
        yield [title, *(spread(values) for values in figures)]


def print_table(title: str, rows: Rows) -> None:
    print(f"\n{title}\n")
    for number, row in enumerate(rows):
        print("| " + " | ".join(row) + " |", flush=True)
        if not number:
            print("| " + " | ".join("---" for _ in row) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", type=Path, help="folder DOMAIN/CLASS/")
    parser.add_argument("--domain", default="cartoon", help="(default: %(default)s)")
    parser.add_argument("--encoder", default="conse", help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--only", action="append", choices=("shots", "errors", "renamed", "transfer"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    images = labelled_folder(options.images / options.domain)
    encoder = vlcls.load_encoder(options.encoder, precision="fp32")
    embedded = embed_labelled(images, encoder, store=EmbeddingStore())
    plain = vlcls.build_classifier(images.labels, encoder)
    seeds = range(options.seeds)
    about = f"{options.domain}, {len(embedded)} images of {len(images.labels)} classes, {options.encoder}"
    wanted = options.only or ["shots", "errors", "renamed", "transfer"]
    if "shots" in wanted:
        print_table(f"Few shots: {about}, {len(seeds)} seeds", few_shots(plain, embedded, seeds))
    if "errors" in wanted:
        print_table(f"Planted label errors: {about}", planted_errors(plain, embedded, seeds))
    if "renamed" in wanted:
        wrong = {"guitar": "violin", "giraffe": "llama", "house": "castle"}
        print_table(f"Wrong names: {about}", renamed(encoder, embedded, images.labels, wrong))
    if "transfer" in wanted:
        print_table(f"Base to novel: {about}", transfer(plain, embedded, seeds, 4))


if __name__ == "__main__":
    main()
