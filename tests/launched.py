"""What test_embeddings.py starts under `accelerate launch`: every process writes down what it was given.

The one argument is a JSON file: spec, labels, images, counts, batch_size, texts, cache (a folder for all
processes) and output (a folder).
"""

import json
import os
import sys
from pathlib import Path

import vlcls
from vlcls.classifiers import Classification
from vlcls.embeddings import embed_texts
from vlcls.store import EmbeddingStore


def plain(found: list[Classification]) -> list:
    return [[item.image, item.error, [[p.label, p.score] for p in item.top_k]] for item in found]


def main(job: dict) -> None:
    rank, output = int(os.environ["RANK"]), Path(job["output"])
    classifier = vlcls.build_classifier(
        job["labels"], job["spec"], "simple", precision="fp32", cache=job["cache"]
    )
    from accelerate import PartialState  # not before vlcls itself asked for it

    result: dict = {"world": PartialState().num_processes, "weights": classifier.zero_shot_weights.tolist()}
    for count in job["counts"]:
        images = job["images"][:count]
        found = classifier.predict(images, top_k=9, batch_size=job["batch_size"], cache=False)
        result[str(count)] = plain(found)
    for run in ("first", "second"):  # through one store for both processes
        done: list[int] = []
        found = classifier.predict(
            job["images"], 9, batch_size=job["batch_size"], cache=job["cache"], progress=done.append
        )
        result[run], result[f"{run} progress"] = plain(found), sum(done)
    (output / f"{rank}.json").write_text(json.dumps(result))

    # Machines with a cache folder each: the first process knows all of the texts, the others none.
    store = EmbeddingStore(output / f"cache of {rank}")
    with store.partition(classifier.encoder, "texts") as partition:
        if rank == 0:
            from vlcls.store import text_key

            rows = classifier.encoder.encode_texts(job["texts"])
            partition.put([text_key(text) for text in job["texts"]], rows.numpy())
    try:
        rows = embed_texts(job["texts"], classifier.encoder, store=store)
        (output / f"texts {rank}.json").write_text(json.dumps(rows.tolist()))
    except Exception as error:  # told by the test; a process that dies here would leave the other waiting
        (output / f"texts {rank}.json").write_text(json.dumps(repr(error)))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
