"""After editing one descriptor: scoring the images again, against scoring them from nothing.

Random weights and odd descriptors: time does not depend on what they say. From nothing means that all texts
are encoded and all classes scored; image embeddings are stored either way, and left out of both.

    python benchmarks/speed/rescore.py --classes 1000
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import models
import timing
import torch
import torch.nn.functional as F

import vlcls
from vlcls.classifiers.prompt import classifier_from_prompts
from vlcls.descriptors import Descriptor, DescriptorSet
from vlcls.descriptors.edits import replace_text
from vlcls.editing import rescore, score
from vlcls.imagenet import class_names
from vlcls.labels import Labels
from vlcls.prompts import prompts_from_descriptors
from vlcls.wordnet import glosses

#: The mean of Classification by Description's ImageNet file.
PER_CLASS = 6


def descriptor_set(classes: int) -> DescriptorSet:
    """ImageNet's names, each with six phrases out of WordNet's glosses."""
    phrases = [" ".join(gloss.split()[:6]) for gloss in glosses().values()]
    names = class_names()[:classes]
    labels = Labels(tuple(names), tuple(map(str, range(classes))))
    own = (phrases[PER_CLASS * index : PER_CLASS * (index + 1)] for index in range(classes))
    return DescriptorSet(labels, tuple(tuple(map(Descriptor, dict.fromkeys(each))) for each in own))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=10_000, help="image embeddings (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="edits (default: %(default)s)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    described = descriptor_set(options.classes)
    images = F.normalize(torch.randn(options.images, 512, generator=torch.Generator().manual_seed(0)), dim=1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = models.save_open_clip(Path(scratch) / "model")
        encoder = vlcls.load_encoder(f"open_clip:local-dir:{folder}", "cpu", "fp32")
    prompts = prompts_from_descriptors(described)
    encoder.encode_texts(prompts.texts[:32])
    start = time.perf_counter()
    classifier = classifier_from_prompts(prompts, encoder, cache=False)
    first = score(classifier, images)
    whole = time.perf_counter() - start
    seconds = []
    for number in range(options.rounds):
        name = described.labels.ids[number]
        edited = replace_text(described, name, described.texts(number)[0], f"a mark of kind {number}")
        start = time.perf_counter()
        after = classifier.with_prompts(prompts_from_descriptors(edited), cache=False)
        second = rescore(first, after)
        seconds.append(time.perf_counter() - start)
        full = replace(second, similarities=after.similarities(images))
        if (full.similarities - second.similarities).abs().max() > 1e-6:
            raise SystemExit("scoring again is not scoring from nothing")
    print(
        f"{timing.machine()}; {len(prompts)} prompts of {options.classes} classes, {options.images} images\n"
    )
    rows = [
        ["from nothing: texts encoded, all scored", f"{whole:.2f}", "1"],
        ["after one edit", f"{median(seconds):.3f}", f"{whole / median(seconds):.0f}"],
    ]
    print(timing.markdown_table(["", "seconds", "times as fast"], rows))


if __name__ == "__main__":
    main()
