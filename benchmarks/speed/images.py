"""Images per second, from JPEG files to scores: vlcls, its peers, and the bare forward pass.

Peers and vlcls share weights, images and process; runs alternate, and a figure is the median over rounds of
the ratio of two runs of one round. Each peer runs with the setting that is fastest in a trial. Nothing is
cached.

    python benchmarks/speed/images.py
    python benchmarks/speed/images.py --images ~/photos --count 512 --rounds 9
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import models
import timing
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vlcls.embeddings import default_batch_size

BATCH = 32
BARE = "bare forward pass"
TEMPLATE = "a photo of a {}."
Probabilities = list[list[float]]


class Photos(Dataset[Tensor]):
    """Paths behind a model's preprocessing, as everybody writes it."""

    def __init__(self, paths: Sequence[Path], preprocess: Callable[[Image.Image], Tensor]) -> None:
        self.paths, self.preprocess = paths, preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.preprocess(Image.open(self.paths[index]).convert("RGB"))


def open_clip_loop(
    model: Any, preprocess: Any, weights: Tensor, paths: list[Path], workers: int
) -> Probabilities:
    """The loop of open_clip's README, over a DataLoader. `weights`: Tensor[D, C]."""
    result: Probabilities = []
    with torch.no_grad():
        for pixels in DataLoader(Photos(paths, preprocess), BATCH, num_workers=workers):
            features = model.encode_image(pixels)
            features /= features.norm(dim=-1, keepdim=True)
            result += (model.logit_scale.exp() * features @ weights).softmax(dim=-1).tolist()
    return result


def transformers_pipeline(pipeline: Any, paths: list[Path], batch_size: int) -> Probabilities:
    found = pipeline(
        [str(path) for path in paths],
        candidate_labels=list(models.LABELS),
        hypothesis_template=TEMPLATE,
        batch_size=batch_size,
    )
    scores = [{entry["label"]: entry["score"] for entry in one} for one in found]
    return [[one[label] for label in models.LABELS] for one in scores]


def vlcls_predict(classifier: Any, paths: list[Path], **options: Any) -> Probabilities:
    every = len(models.LABELS)
    found = list(classifier.iter_predict(paths, every, cache=False, **options))
    scores = [{prediction.index: prediction.score for prediction in one.top_k} for one in found]
    return [[one[index] for index in range(every)] for one in scores]


def bare_forward(forward: Callable[[Tensor], Any], batches: Sequence[Tensor]) -> None:
    """What no program can beat with these libraries: the image tower alone, on ready float batches of
    the size that vlcls takes."""
    with torch.inference_mode():
        for pixels in batches:
            forward(pixels)


def build(spec: str) -> Any:
    import vlcls

    return vlcls.build_classifier(
        models.LABELS, spec, TEMPLATE, articles=False, precision="fp32", device="cpu", cache=False
    )


def against_open_clip(folder: Path, paths: list[Path]) -> tuple[Any, dict[str, Callable[[], Any]]]:
    """A vlcls classifier and its competitors, by name; all with the weights saved in `folder`."""
    import open_clip

    name = f"local-dir:{folder}"
    model, preprocess = open_clip.create_model_from_pretrained(name)
    model.eval()
    texts = [TEMPLATE.format(label) for label in models.LABELS]
    with torch.no_grad():
        weights = model.encode_text(open_clip.get_tokenizer(name)(texts), normalize=True).T
    batches = list(DataLoader(Photos(paths, preprocess), default_batch_size(torch.device("cpu"))))
    others = {
        f"open_clip loop, num_workers={workers}": partial(
            open_clip_loop, model, preprocess, weights, paths, workers
        )
        for workers in (0, 1, 2)
    }
    forward = partial(bare_forward, model.encode_image, batches)
    return build(f"open_clip:{name}"), {**others, BARE: forward}


def against_transformers(folder: Path, paths: list[Path]) -> tuple[Any, dict[str, Callable[[], Any]]]:
    from transformers import pipeline

    pipe = pipeline("zero-shot-image-classification", model=str(folder), device="cpu")
    pixels = pipe.image_processor([Image.open(path) for path in paths], return_tensors="pt")["pixel_values"]
    others = {
        f"transformers pipeline, batch_size={size}": partial(transformers_pipeline, pipe, paths, size)
        for size in (1, 8, 32)
    }
    batches = pixels.split(default_batch_size(torch.device("cpu")))
    forward = partial(bare_forward, lambda part: pipe.model.get_image_features(pixel_values=part), batches)
    return build(f"hf:{folder}"), {**others, BARE: forward}


def largest_difference(a: Probabilities, b: Probabilities) -> float:
    return float((torch.tensor(a) - torch.tensor(b)).abs().max())


def compare(
    family: str, classifier: Any, others: dict[str, Callable[[], Any]], paths: list[Path], rounds: int
) -> list[list[str]]:
    """Rows of the table: how fast each is, and how many times as fast vlcls is."""
    peer = next(iter(others.values()))
    difference = largest_difference(vlcls_predict(classifier, paths, reduced_decode=False), peer())
    if difference > 1e-4:
        raise SystemExit(f"vlcls and {family} disagree: probabilities differ by {difference:.1e}")
    ours = f"vlcls, {family} model"
    settings = [name for name in others if name != BARE]
    trial = timing.alternate({name: others[name] for name in settings}, 2)
    best = min(settings, key=lambda name: min(trial[name]))
    contestants = {ours: partial(vlcls_predict, classifier, paths), best: others[best], BARE: others[BARE]}
    seconds = timing.alternate(contestants, rounds)
    tried = ", ".join(f"{name.rpartition(', ')[2]}: {len(paths) / min(trial[name]):.1f}" for name in settings)
    print(f"{family}: best of two trial runs, images/s: {tried}", file=sys.stderr, flush=True)
    return [
        [name, timing.per_second(seconds, name, len(paths)), timing.times_as_fast(seconds, ours, name)]
        for name in contestants
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of JPEGs (default: photographs made for this)")
    parser.add_argument("--count", type=int, default=128, help="how many images (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="runs of each contestant (default: %(default)s)"
    )
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", module="transformers")
    with tempfile.TemporaryDirectory() as scratch:
        paths = models.find_photos(options.images, Path(scratch), options.count)
        print(f"{timing.machine()}; {len(paths)} images, ViT-B/32, {options.rounds} rounds\n")
        print(
            timing.markdown_table(["images to scores", "images/s", "vlcls is times as fast"], []), flush=True
        )
        for family, save, against in (
            ("open_clip", models.save_open_clip, against_open_clip),
            ("transformers", models.save_transformers, against_transformers),
        ):
            classifier, others = against(save(Path(scratch) / family), paths)
            for row in compare(family, classifier, others, paths, options.rounds):
                print(timing.table_line(row), flush=True)


if __name__ == "__main__":
    main()
