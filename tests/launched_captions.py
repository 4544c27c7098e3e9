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
from vlcls.retrieval import build, build_captions, builtin
from vlcls.retrieval.builtin import embed_in_parts
from vlcls.store import EmbeddingStore, text_key


def main(job: dict) -> None:
    rank, output = int(os.environ["RANK"]), Path(job["output"])
    build.PART_ROWS, builtin._AT_ONCE = job["part_rows"], 10
    encoder = vlcls.load_encoder(job["spec"], "cpu", "fp32")
    if rank:  # the main process may have begun to write before this one looks
        time.sleep(0.5)
    report = build_captions(job["captions"], job["database"], encoder)
    patience = time.monotonic() + 120
    while not json.loads((Path(job["database"]) / "database.json").read_text())["database"]:
        assert time.monotonic() < patience
        time.sleep(0.05)
    # A store for each process; the first one's knows some texts already.
    store = EmbeddingStore(output / f"cache of {rank}")
    if rank == 0:
        with store.partition(encoder, "texts") as partition:
            known = ["object", *job["captions"][3:17]]
            partition.put([text_key(text) for text in known], encoder.encode_texts(known).numpy())
    with Cased(job["database"], encoder, cache=output / f"cache of {rank}") as method:
        names = [
            [naming.image, [[p.label, p.score] for p in naming.candidates]]
            for naming in discover(job["images"], method, cache=False, batch_size=4)
        ]
    rows = embed_in_parts(job["captions"][:25], encoder, store=store)
    result = {"added": report.added, "repeated": report.repeated, "total": report.total, "names": names}
    result["index"] = None if report.index is None else report.index.factory
    (output / f"{rank}.json").write_text(json.dumps({**result, "rows": rows.tolist()}))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
