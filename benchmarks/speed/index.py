"""What the index of many captions costs in recall, and what it saves in time and memory.

200,000 vectors of the shape of real caption embeddings: a real caption, moved by the difference of two others
and by noise of the captions' covariance. Queries are real image embeddings, as in `vlcls discover`, and, as
when an index is tuned, vectors of the database. Each index is searched in a process of its own, which holds
no torch; private memory is what that process cannot give back, mapped pages are the disk's. Times are of the
processor, on which other processes do not count.

    python benchmarks/speed/index.py FOLDER      # with caption_emb.npy and image_emb.npy, from one CLIP
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

KINDS = ("Flat", "IVF", "HNSW32,SQfp16")
BATCH = 16
NEIGHBOURS = 10


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def alike(captions: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """`count` vectors of the shape of `captions`, float16[count, D]."""
    generator = np.random.default_rng(seed)
    root = np.linalg.cholesky(np.cov(captions.T) + 1e-6 * np.eye(captions.shape[1]))
    parts = []
    for start in range(0, count, 20_000):
        one, other, third = generator.integers(0, len(captions), (3, min(20_000, count - start)))
        noise = generator.normal(size=(len(one), captions.shape[1])) @ root.T
        rows = captions[one] + 0.5 * (captions[other] - captions[third]) + 0.3 * noise
        parts.append(unit(rows).astype(np.float16))
    return np.concatenate(parts)


def memory() -> dict[str, float]:
    """MiB of this process: private, and mapped from files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}


def searched(path: Path, queries: Path, effort: int | None) -> None:
    """In a process of its own: search in batches, print what came of it."""
    from vlcls.retrieval.index import faiss, read_index

    index = read_index(path)
    if effort is not None:
        name = "nprobe" if "IVF" in path.stem else "efSearch"
        faiss().ParameterSpace().set_index_parameter(index, name, effort)
    rows = np.load(queries)
    found, seconds = [], []
    for _ in range(3):
        start = time.process_time()
        found = [index.search(rows[at : at + BATCH], NEIGHBOURS)[1] for at in range(0, len(rows), BATCH)]
        seconds.append(time.process_time() - start)
    result = {"rows": np.concatenate(found).tolist(), "seconds": sorted(seconds)[1], **memory()}
    assert "torch" not in sys.modules
    print(json.dumps(result))


def run(path: Path, queries: Path, effort: int | None = None) -> dict:
    command = [sys.executable, __file__, "--search", str(path), str(queries)]
    command += [] if effort is None else ["--effort", str(effort)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(folder: Path, count: int, scratch: Path) -> None:
    import timing

    from vlcls.retrieval.index import build_index, choose_factory, faiss, recall, write_index

    captions, images = (unit(np.load(folder / f"{kind}_emb.npy")) for kind in ("caption", "image"))
    vectors = alike(captions, count)
    np.save(scratch / "image.npy", images)
    np.save(scratch / "caption.npy", alike(captions, len(images), seed=1).astype(np.float32))
    print(f"{timing.machine()}, faiss {faiss().__version__}; {count:,} x {vectors.shape[1]}\n")
    wanted: dict[str, np.ndarray] = {}
    exact: dict[str, float] = {}
    rows = []
    for kind in KINDS:
        factory = choose_factory(count, "float16") if kind == "IVF" else kind
        start = time.perf_counter()
        index, info = build_index([vectors], factory)
        built = time.perf_counter() - start
        path = scratch / f"{kind.split(',')[0]}.index"
        write_index(index, path)
        del index
        size = path.stat().st_size / 2**20
        efforts = [None] if info.effort is None else [max(1, info.effort // 4), info.effort, info.effort * 4]
        for effort in efforts:
            cells = []
            for queries in ("image", "caption"):
                result = run(path, scratch / f"{queries}.npy", effort)
                found = np.array(result["rows"])
                if kind == "Flat":
                    wanted[queries], exact[queries] = found, result["seconds"]
                per_query = 1000 * result["seconds"] / len(found)
                ratio = exact[queries] / result["seconds"]
                cells += [f"{recall(found, wanted[queries]):.3f}", f"{per_query:.2f}", f"{ratio:.1f}"]
                if queries == "image":
                    held = [f"{result['RssAnon']:.0f}", f"{result['RssFile']:.0f}"]
            name = factory + (
                f", effort {effort}" + (" (chosen)" if effort == info.effort else "") if effort else ""
            )
            rows.append([name, f"{built:.0f}", f"{size:.0f}", *held, *cells])
    header = ["index", "built, s", "file, MiB", "private, MiB", "mapped, MiB"]
    for queries in ("images", "captions"):
        header += [f"{queries}: recall@10", "ms a query", "times as fast"]
    print(timing.markdown_table(header, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="with caption_emb.npy and image_emb.npy")
    parser.add_argument("--count", type=int, default=200_000, help="vectors (default: %(default)s)")
    parser.add_argument("--search", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--effort", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.search:
        searched(*options.search, options.effort)
        return
    if options.folder is None:
        parser.error("give the folder with the embeddings")
    with tempfile.TemporaryDirectory() as scratch:
        measure(options.folder, options.count, Path(scratch))


if __name__ == "__main__":
    main()
