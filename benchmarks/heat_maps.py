"""Are `conse`'s heat maps true of it? Deletion and insertion on photographs, against maps that know nothing.

Class folders of photographs; the text is "a photo of a CLASS". Printed for each map: the mean area under both
curves, and its mean difference from random maps of the same grid on the same image, with a 95 % bootstrap
interval over images. "centre" is a map that is largest in the middle of every image, where photographers put
things.

    python benchmarks/heat_maps.py FOLDER --each 6
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls import load_encoder
from vlcls.articles import article
from vlcls.evaluation.metrics.intervals import mean_interval
from vlcls.explain import Faithfulness, faithfulness, heat_grid, heat_map, random_maps
from vlcls.explain.heatmaps import image_pixels


def centre_map(size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Minus the distance from the middle."""
    rows, columns = (torch.linspace(-1, 1, length) for length in grid)
    distance = -(rows[:, None] ** 2 + columns[None] ** 2)
    return F.interpolate(distance[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="conse")
    parser.add_argument("--method", default=None)
    parser.add_argument("--each", type=int, default=6, help="images of each class, the first by name")
    parser.add_argument("--draws", type=int, default=4, help="random maps for each image")
    given = parser.parse_args()
    encoder = load_encoder(given.encoder)
    found: dict[str, list[Faithfulness]] = {"map": [], "centre": [], "random": []}
    for folder in sorted(path for path in given.folder.iterdir() if path.is_dir()):
        text = encoder.encode_texts([f"a photo of {article(folder.name)} {folder.name}."])[0]
        for path in sorted(folder.iterdir())[: given.each]:
            grid = tuple(heat_grid(encoder, image_pixels(encoder, path), text, given.method).shape[1:])
            maps = {
                "map": [heat_map(encoder, path, text, given.method)],
                "centre": [centre_map(encoder.image_size, grid)],
                "random": list(random_maps(encoder.image_size, grid, given.draws, len(found["map"]))),
            }
            for name, some in maps.items():
                found[name] += [faithfulness(encoder, path, text, each) for each in some]
    report(found, given.draws)


def report(found: dict[str, list[Faithfulness]], draws: int) -> None:
    print(f"{len(found['map'])} images, {draws} random maps each")
    for curve in ("deletion_area", "insertion_area"):
        areas = {name: torch.tensor([getattr(each, curve) for each in some]) for name, some in found.items()}
        chance = areas["random"].view(-1, draws).mean(dim=1)
        print(f"{curve}: random {chance.mean():.4f}")
        for name in ("map", "centre"):
            gain = areas[name] - chance
            interval = mean_interval(gain.numpy())
            assert interval is not None
            won = ((gain < 0) if curve == "deletion_area" else (gain > 0)).float().mean()
            print(
                f"  {name:7} {areas[name].mean():.4f}  difference {interval.value:+.4f} "
                f"[{interval.low:+.4f}, {interval.high:+.4f}]  better on {won:.0%} of images"
            )


if __name__ == "__main__":
    main()
