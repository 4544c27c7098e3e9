"""One prediction through a store of many rows against one through a store of few, in one process.

The image's embedding is in both stores, so that nothing is encoded: what is timed is reading the image,
finding its row and scoring it. Third contestant: the store of many rows opened anew each time, as the first
prediction of a process does, which reads and checks all of it; once every prediction did so.

    python benchmarks/speed/many_rows.py
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from statistics import median

import models
import numpy as np
import timing

AT_ONCE = 5_000


def fill(root: Path, encoder: object, count: int) -> int:
    """A store of `count` rows of images that nobody has. Returns the number of its files."""
    from vlcls.store import EmbeddingStore, text_key

    generator = np.random.default_rng(0)
    with EmbeddingStore(root).partition(encoder, "images") as partition:  # type: ignore[arg-type]
        for start in range(0, count, AT_ONCE):
            rows = generator.normal(size=(min(AT_ONCE, count - start), encoder.embedding_dim))  # type: ignore[attr-defined]
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            partition.put([text_key(f"row {start + n}") for n in range(len(rows))], rows.astype(np.float32))
            partition.flush()
    return len(list(partition.folder.glob("*.safetensors")))


def main() -> None:
    import vlcls
    from vlcls.store import opened

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--rows", type=int, default=100_000, help="rows of the large store (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=200, help="predictions of each (default: %(default)s)")
    parser.add_argument(
        "--opened-anew", type=int, default=10, help="rounds of the third (default: %(default)s)"
    )
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        photo = models.find_photos(None, Path(scratch), 1)[0]
        model = models.save_open_clip(Path(scratch) / "model")
        encoder = vlcls.load_encoder(f"open_clip:local-dir:{model}", "cpu", "fp32")
        classifier = vlcls.build_classifier(models.LABELS, encoder, cache=False)
        few, many = Path(scratch) / "few", Path(scratch) / "many"
        files = fill(many, encoder, options.rows)
        for root in (few, many):
            classifier.predict(photo, cache=root)

        def anew() -> None:
            opened._OPEN.clear()
            classifier.predict(photo, cache=many)

        warm = {
            "few": lambda: classifier.predict(photo, cache=few),
            "many": lambda: classifier.predict(photo, cache=many),
        }
        seconds = timing.alternate(warm, options.rounds)
        seconds |= timing.alternate({"anew": anew}, options.opened_anew)
        names = {
            "few": "1 row",
            "many": f"{options.rows + 1:,} rows in {files + 1} files",
            "anew": "the same, opened anew each time",
        }
        rows = [
            [names[which], f"{1000 * median(each):.3f}", f"{median(each) / median(seconds['few']):.2f}"]
            for which, each in seconds.items()
        ]
    print(f"{timing.machine()}; one image, ViT-B/32's width, {options.rounds} rounds\n")
    print(timing.markdown_table(["one prediction from a store of", "ms, median", "times as long"], rows))
    ratio = median(seconds["many"]) / median(seconds["few"])
    print(f"\nmany rows / few rows: {ratio:.3f} (at most 1.1 is wanted)")


if __name__ == "__main__":
    main()
