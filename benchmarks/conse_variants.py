"""How well the variants of the `conse` encoder classify: one row a variant, one column a set of images.

    python benchmarks/conse_variants.py --data pacs --data silhouettes=cue-conflict/silhouettes
    python benchmarks/conse_variants.py --held-out

A set is a folder of CLASS/images; a `--data` folder is one of those or a folder of such sets
(DOMAIN/CLASS/images). The class names are the folders' names, the prompt is "a photo of a {}.". The images
pass the image tower once; only what joins it to the text tower differs between variants.

`--held-out` needs no images: the image tower forgets 100 of its 1000 classes at a time, and stands for an
image of a forgotten class by that class's weight vector with Gaussian noise (class means and weight vectors
of a trained classifier point the same way: Papyan, Han and Donoho 2020, "neural collapse").
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vlcls import load_encoder
from vlcls.encoders.conse import NAME_PROMPT, VARIANTS, ConseEncoder, SeenClasses, join

#: About the distance of a photo's pooled features from their mean on ImageNet.
PSEUDO_IMAGE_NORM = 12.0

IMAGE_FILES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True)
class ImageSet:
    """One column: its images' pooled features, Tensor[N, K], and true classes, Tensor[N]."""

    name: str
    labels: tuple[str, ...]
    features: Tensor
    truth: Tensor


def folders(arguments: list[str]) -> dict[str, Path]:
    """Name -> folder of CLASS/images, for every `--data [NAME=]FOLDER`."""
    found: dict[str, Path] = {}
    for argument in arguments:
        name, equals, path = argument.rpartition("=")
        folder = Path(path)
        if has_images(folder):
            found[name if equals else folder.name] = folder
            continue
        for domain in sorted(folder.iterdir()):
            if domain.is_dir() and has_images(domain):
                found[f"{name}/{domain.name}" if equals else domain.name] = domain
    if not found:
        sys.exit("no folder of CLASS/images was found")
    return found


def has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_FILES for path in folder.glob("*/*"))


def read(name: str, folder: Path, encoder: ConseEncoder, batch: int = 32) -> ImageSet:
    """Pass every image of CLASS/images through the image tower."""
    paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in IMAGE_FILES)
    labels = tuple(sorted({path.parent.name for path in paths}))
    mean, std = (torch.tensor(stats).view(1, 3, 1, 1) for stats in (encoder.mean, encoder.std))
    features = []
    for start in range(0, len(paths), batch):
        images = [Image.open(path).convert("RGB") for path in paths[start : start + batch]]
        pixels = (torch.stack([encoder.preprocess(image) for image in images]).float() / 255 - mean) / std
        with torch.inference_mode():
            features.append(encoder.towers.pooled_features(pixels.to(encoder.device)))
    truth = torch.tensor([labels.index(path.parent.name) for path in paths])
    return ImageSet(name, labels, torch.cat(features), truth)


def logits(encoder: ConseEncoder, images: ImageSet, prompt: str) -> Tensor:
    """Tensor[N, C], logit scale times cosine."""
    texts = encoder.encode_texts([prompt.format(label.replace("_", " ")) for label in images.labels])
    return encoder.logit_scale * (encoder.joint_space.images(images.features) @ texts.T).cpu()


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    p, spread = hits / total, z * z / total
    centre = (p + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(p * (1 - p) / total + spread / (4 * total))
    return centre - half, centre + half


def calibration_error(probabilities: Tensor, truth: Tensor, bins: int = 10) -> float:
    """Expected calibration error of the top class with bins of equal width (Guo et al. 2017)."""
    confidence, top = probabilities.max(dim=1)
    gap = confidence.double() - (top == truth).double()
    places = (confidence * bins).long().clamp(max=bins - 1)
    return float(torch.zeros(bins, dtype=torch.double).index_add(0, places, gap).abs().sum() / len(truth))


def accuracy_table(encoders: dict[str, ConseEncoder], sets: list[ImageSet], prompt: str) -> list[str]:
    lines = [
        f"| variant | {' | '.join(s.name for s in sets)} | mean | all images (95 % interval) |",
        f"| --- |{' ---: |' * (len(sets) + 2)}",
    ]
    total = sum(len(s.truth) for s in sets)
    for encoder in encoders.values():
        hits = [int((logits(encoder, s, prompt).argmax(dim=1) == s.truth).sum()) for s in sets]
        shares = [100 * hit / len(s.truth) for hit, s in zip(hits, sets, strict=True)]
        low, high = wilson(sum(hits), total)
        cells = " | ".join(f"{share:.1f}" for share in shares)
        overall = f"{100 * sum(hits) / total:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        lines.append(f"| `{encoder.spec}` | {cells} | {sum(shares) / len(shares):.1f} | {overall} |")
    return lines


def calibration_table(encoder: ConseEncoder, sets: list[ImageSet], prompt: str) -> list[str]:
    lines = [
        f"| `{encoder.spec}`, logit scale {encoder.logit_scale:g} | {' | '.join(s.name for s in sets)} |",
        f"| --- |{' ---: |' * len(sets)}",
    ]
    scores = [logits(encoder, s, prompt) for s in sets]
    rows = {
        "accuracy %": [
            100 * float((x.argmax(dim=1) == s.truth).float().mean())
            for x, s in zip(scores, sets, strict=True)
        ],
        "mean confidence %": [100 * float(x.softmax(dim=1).amax(dim=1).mean()) for x in scores],
        "expected calibration error %": [
            100 * calibration_error(x.softmax(dim=1), s.truth) for x, s in zip(scores, sets, strict=True)
        ],
        "negative log-likelihood": [
            float(torch.nn.functional.cross_entropy(x, s.truth)) for x, s in zip(scores, sets, strict=True)
        ],
    }
    for name, values in rows.items():
        digits = 2 if name.startswith("negative") else 1
        lines.append(f"| {name} | {' | '.join(f'{value:.{digits}f}' for value in values)} |")
    return lines


def held_out_table(encoder: ConseEncoder, folds: int = 10, copies: int = 5, noise: float = 2.0) -> list[str]:
    """Top-1 over the forgotten classes of every fold, chance 1 %, for parts and for shares of two parts."""
    seen, generator = encoder.seen, torch.Generator().manual_seed(0)
    order = torch.randperm(len(seen.names), generator=generator)
    weight = seen.weight - seen.weight.mean(dim=0)
    scale = PSEUDO_IMAGE_NORM / weight.norm(dim=1).mean()
    soft, joint = VARIANTS["soft"][0], VARIANTS["synthesized"][0]
    rows = {f"`conse:{name}`": parts for name, parts in VARIANTS.items() if name != "joint"}
    for ratio in (0.5, 1, 2, 3, 4, 6):
        shares = (1 / (1 + ratio), ratio / (1 + ratio))
        rows[f"soft : synthesized = 1 : {ratio:g}"] = [
            {**soft, "share": shares[0]},
            {**joint, "share": shares[1]},
        ]
    hits = dict.fromkeys(rows, 0)
    for forgotten in order.chunk(folds):
        kept = torch.ones(len(seen.names), dtype=torch.bool)
        kept[forgotten] = False
        known = SeenClasses(seen.names[kept], seen.weight[kept], seen.bias[kept])
        truth = torch.arange(len(forgotten)).repeat(copies)
        grain = torch.randn(len(truth), weight.shape[1], generator=generator)
        grain *= noise * PSEUDO_IMAGE_NORM / math.sqrt(weight.shape[1])
        images = scale * weight[forgotten][truth] + grain
        for name, parts in rows.items():
            joined = join(known, parts)
            cosines = joined.images(images) @ joined.texts(seen.names[forgotten]).T
            hits[name] += int((cosines.argmax(dim=1) == truth).sum())
    total = copies * len(order)
    lines = ["| held-out names | top-1 % |", "| --- | ---: |"]
    return lines + [f"| {name} | {100 * count / total:.1f} |" for name, count in hits.items()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", default=[], metavar="[NAME=]FOLDER")
    parser.add_argument("--held-out", action="store_true", help="held-out ImageNet names, without images")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated; all by default")
    parser.add_argument("--prompt", default=NAME_PROMPT, help="with {} for the class name")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="write the tables to this file as well")
    arguments = parser.parse_args()
    if not arguments.data and not arguments.held_out:
        parser.error("give --data or --held-out")

    first = load_encoder("conse", device=arguments.device, precision="fp32")
    assert isinstance(first, ConseEncoder)
    lines = []
    if arguments.data:
        sets = [read(name, folder, first) for name, folder in folders(arguments.data).items()]
        encoders = {
            name: ConseEncoder(name, first.towers, first.seen, first.device, first.precision)
            for name in arguments.variants.split(",")
        }
        lines += [*accuracy_table(encoders, sets, arguments.prompt), ""]
        lines += [*calibration_table(first, sets, arguments.prompt), ""]
    if arguments.held_out:
        lines += held_out_table(first)
    print("\n".join(lines))
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
