"""What CaSED costs on top of embedding the images and retrieving captions, once words are known.

500 images, no store of images. The bare run embeds and searches; the other also filters captions, looks up
the words' embeddings and scores. The first run of all, which encodes the words, is a line of its own.

    python benchmarks/speed/discover.py --images PHOTOS
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import models
import timing


def main() -> None:
    import vlcls
    from vlcls.classifiers.cased import Cased
    from vlcls.classifiers.vocabulary_free import discover
    from vlcls.embeddings import embed_images
    from vlcls.image_sources import as_sources
    from vlcls.retrieval import open_captions
    from vlcls.store import EmbeddingStore

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of JPEGs (default: photographs made for this)")
    parser.add_argument("--captions", default="wordnet", help="database (default: %(default)s)")
    parser.add_argument("--encoder", default="conse", help="spec (default: %(default)s)")
    parser.add_argument("--count", type=int, default=500, help="how many images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="alternating runs (default: %(default)s)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    encoder = vlcls.load_encoder(options.encoder, "cpu", "fp32")
    database = open_captions(options.captions, encoder, store=EmbeddingStore())
    with tempfile.TemporaryDirectory() as scratch:
        found = models.find_photos(options.images, Path(scratch), options.count)
        paths = [found[number % len(found)] for number in range(options.count)]
        method = Cased(database, encoder, cache=False)

        def bare() -> None:
            for batch in embed_images(as_sources(paths), encoder):
                database.search(batch.embeddings.cpu().numpy(), method.retrieved)

        def named() -> None:
            for _ in discover(paths, method, cache=False):
                pass

        bare()
        start = time.perf_counter()
        named()
        first = time.perf_counter() - start
        encoded = method.words.encoded
        processor: dict[str, list[float]] = {"bare": [], "named": []}

        def on_processor(run: Callable[[], None], name: str) -> None:
            start = time.process_time()
            run()
            processor[name].append(time.process_time() - start)

        runs = {"bare": partial(on_processor, bare, "bare"), "named": partial(on_processor, named, "named")}
        seconds = timing.alternate(runs, options.rounds)
        assert method.words.encoded == encoded
    print(f"{timing.machine()}; {options.encoder}, {len(paths)} images ({len(found)} different), "
          f"{len(database):,} captions, {options.rounds} rounds\n")  # fmt: skip
    rows = [
        ["embedding and retrieving", f"{median(seconds['bare']):.2f}", "1", "1"],
        [
            "CaSED, words known",
            f"{median(seconds['named']):.2f}",
            timing.times_as_fast(seconds, "bare", "named"),
            timing.times_as_fast(processor, "bare", "named"),
        ],
        [
            f"CaSED, first run ({encoded} words encoded)",
            f"{first:.2f}",
            f"{first / median(seconds['bare']):.2f}",
            "",
        ],
    ]
    header = ["", "s", "times the bare run", "the same of processor time"]
    print(timing.markdown_table(header, rows))


if __name__ == "__main__":
    main()
