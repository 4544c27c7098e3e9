"""What test_retrieval.py starts under `accelerate launch`: a database is built, then images are named.

The one argument is a JSON file: spec, captions, images, database (a folder), part_rows and output (a folder).
"""

import json
import os
import sys
import time
from pathlib import Path

import vlcls
from vlcls.classifiers.cased import Cased
from vlcls.classifiers.vocabulary_free import discover
from vlcls.retrieval import build, build_captions


def main(job: dict) -> None:
    rank, output = int(os.environ["RANK"]), Path(job["output"])
    build.PART_ROWS = job["part_rows"]
    encoder = vlcls.load_encoder(job["spec"], "cpu", "fp32")
    if rank:  # the main process may have begun to write before this one looks
        time.sleep(0.5)
    report = build_captions(job["captions"], job["database"], encoder)
    patience = time.monotonic() + 120
    while not json.loads((Path(job["database"]) / "database.json").read_text())["database"]:
        assert time.monotonic() < patience
        time.sleep(0.05)
    # A store for each process; the first one's knows a word already.
    cache = output / f"cache of {rank}"
    method = Cased(job["database"], encoder, cache=cache)
    if rank == 0:
        from vlcls.store import EmbeddingStore, text_key

        with EmbeddingStore(cache).partition(encoder, "texts") as partition:
            partition.put([text_key("object")], encoder.encode_texts(["object"]).numpy())
        method = Cased(job["database"], encoder, cache=cache)
    with method:
        names = [
            [naming.image, [[p.label, p.score] for p in naming.candidates]]
            for naming in discover(job["images"], method, cache=False, batch_size=4)
        ]
    result = {"added": report.added, "repeated": report.repeated, "total": report.total, "names": names}
    result["index"] = None if report.index is None else report.index.factory
    (output / f"{rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
