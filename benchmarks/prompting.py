"""What ways to prompt and to weigh prompts are worth, on labelled photographs: accuracies with intervals.

Templates, descriptors, random words and per-image weights, next to the controls that tell whether it is the
words that help: every class with another class's descriptors, or with its own in scrambled order. Nothing is
fitted on the images (ZPE sees them without labels). The tables of docs/descriptors.md and docs/autoclip.md
come from here. Needs `pip install imagecorruptions-imaug` for --corrupt.

    python benchmarks/prompting.py pacs-mini --descriptors pacs
    python benchmarks/prompting.py pacs-mini --descriptors pacs --corrupt photo
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from scipy.stats import bootstrap

import vlcls
from vlcls.binomial import interval
from vlcls.classifiers.prompt import PromptClassifier, classifier_from_prompts
from vlcls.classifiers.weighting import Weighting
from vlcls.descriptors import DescriptorSet, read_descriptors
from vlcls.encoders import Encoder
from vlcls.labelled import LabelledEmbeddings, embed_labelled, labelled_folder
from vlcls.prompts import (
    prompts_from_descriptors,
    prompts_from_random,
    prompts_from_templates,
    waffle_and_descriptors,
)
from vlcls.prompts.waffle import scrambled, swapped
from vlcls.store import EmbeddingStore

SEEDS = range(7)
#: The 15 of ImageNet-C, at one severity.
SEVERITY = 3
Makers = dict[str, Callable[[torch.Tensor], list[PromptClassifier]]]


def describing(described: DescriptorSet, encoder: Encoder) -> Makers:
    """Names, descriptors and their controls; a method with several seeds gives several classifiers."""
    labels = described.labels

    def of(prompts: object, aggregate: str | None = None) -> PromptClassifier:
        return classifier_from_prompts(prompts, encoder, aggregate=aggregate)  # type: ignore[arg-type]

    def made(known: DescriptorSet, **options: str) -> PromptClassifier:
        return of(prompts_from_descriptors(known, **options))

    return {
        "bare names": lambda _: [of(prompts_from_templates(labels, "name"))],
        "a photo of a {}.": lambda _: [of(prompts_from_templates(labels, "photo"))],
        "80 templates": lambda _: [of(prompts_from_templates(labels, "openai-imagenet"))],
        "descriptors": lambda _: [made(described)],
        'descriptors, phrasing "dclip"': lambda _: [made(described, phrasing="dclip")],
        "descriptors in a photo of a {}.": lambda _: [made(described, templates="photo")],
        "descriptors, max": lambda _: [of(prompts_from_descriptors(described), "max")],
        "control: another class's": lambda _: [made(swapped(described, seed)) for seed in SEEDS],
        "control: scrambled": lambda _: [made(scrambled(described, seed)) for seed in SEEDS],
        "WaffleCLIP": lambda _: [of(prompts_from_random(labels, seed=seed)) for seed in SEEDS],
        "WaffleCLIP and descriptors": lambda _: [
            of(waffle_and_descriptors(described, seed=seed)) for seed in SEEDS
        ],
    }


def weighing(described: DescriptorSet, encoder: Encoder) -> Makers:
    """CLIP's 80 templates, put together in every way."""
    prompts = prompts_from_templates(described.labels, "openai-imagenet")

    def of(aggregate: str, weighting: Weighting | None = None) -> list[PromptClassifier]:
        return [classifier_from_prompts(prompts, encoder, aggregate=aggregate, weighting=weighting)]

    def zpe(images: torch.Tensor) -> list[PromptClassifier]:
        return [vlcls.weigh_templates(of("mean-similarity")[0], images)]

    means = "mean-similarity"
    return {
        "mean embedding": lambda _: of("mean-embedding"),
        "mean similarity": lambda _: of(means),
        "max": lambda _: of("max"),
        "AutoCLIP": lambda _: of(means, Weighting()),
        "AutoCLIP, logit scale inside": lambda _: of(means, Weighting(scaled=True)),
        "softmax weighting": lambda _: of(means, Weighting("softmax")),
        "ZPE (from the same images)": zpe,
    }


def corrupted(folder: Path, target: Path) -> Path:
    """Each photograph in each of ImageNet-C's 15 ways; folders CORRUPTION/CLASS/."""
    from imagecorruptions import corrupt, get_corruption_names
    from PIL import Image

    for path in sorted(folder.rglob("*.jpg")):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        for number, name in enumerate(get_corruption_names("common")):
            np.random.seed(number)  # the library has no other way
            place = target / name / path.parent.name / f"{path.stem}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(corrupt(pixels, corruption_name=name, severity=SEVERITY)).save(place)
    return target


def bounds(right: list[torch.Tensor], photographs: list[str] | None) -> tuple[float, float]:
    """95 % interval: Wilson's; or, of several images of each photograph, a bootstrap over photographs."""
    mine = torch.stack(right).float().mean(0)
    if photographs is None:
        return interval(round(float(mine.sum())), len(mine))
    groups: dict[str, list[float]] = {}
    for name, value in zip(photographs, mine.tolist(), strict=True):
        groups.setdefault(name, []).append(value)
    means = [mean(values) for values in groups.values()]
    found = bootstrap((means,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    return found.low, found.high


def rows(makers: Makers, embedded: LabelledEmbeddings, corrupted: bool) -> Iterator[list[str]]:
    groups = embedded.groups.get("group")
    parts = {"all": torch.ones(len(embedded), dtype=torch.bool)}
    if groups and not corrupted:
        parts |= {name: torch.tensor([group == name for group in groups]) for name in sorted(set(groups))}
    photographs = [Path(name).stem for name in embedded.names] if corrupted else None
    yield ["", *(f"{name} ({int(part.sum())})" for name, part in parts.items())]
    for name, maker in makers.items():
        right = [
            made.similarities(embedded.embeddings).argmax(1) == embedded.class_indices
            for made in maker(embedded.embeddings)
        ]
        cells = []
        for part in parts.values():
            low, high = bounds([each[part] for each in right], photographs)
            accuracies = [float(each[part].float().mean()) for each in right]
            spread = f", seeds {100 * np.std(accuracies):.1f}" if len(right) > 1 else ""
            cells.append(f"{100 * mean(accuracies):.1f} ({100 * low:.0f} to {100 * high:.0f}{spread})")
        yield [name, *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", type=Path, help="FOLDER/CLASS/ or FOLDER/GROUP/CLASS/")
    parser.add_argument("--descriptors", default="pacs", help="file or built-in set (default: %(default)s)")
    parser.add_argument("--encoder", default="conse", help="spec (default: %(default)s)")
    parser.add_argument(
        "--corrupt", metavar="GROUP", help="instead: that group's images, corrupted in 15 ways"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    described, encoder = read_descriptors(options.descriptors), vlcls.load_encoder(options.encoder)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.images
        if options.corrupt:
            folder = corrupted(folder / options.corrupt, Path(scratch))
        labelled = labelled_folder(folder, described.labels)
        embedded = embed_labelled(labelled, encoder, store=EmbeddingStore())
    for makers in (describing(described, encoder), weighing(described, encoder)):
        for number, row in enumerate(rows(makers, embedded, corrupted=bool(options.corrupt))):
            print("| " + " | ".join(row) + " |")
            if not number:
                print("| " + " | ".join(["---"] * len(row)) + " |")
        print()


if __name__ == "__main__":
    main()
