"""Every file format that vlcls reads back: a whole sample of each, and the reader that a command would call.

The table of bad inputs and `benchmarks/fuzz.py` damage these samples. A new format is one entry of `FORMATS`.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from documented import CLASSES, draw, make_world


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        file: Its place in the folder that `make_samples` fills; it is what gets damaged.
        read: Opens it as a command would, and uses what it holds; given the folder.
        refuses: Whether damage must be an error (a run computes damaged cells anew; any text is a caption).
        every: Of the faults in its fields the table takes each n-th: opening it takes long.
    """

    file: str
    read: Callable[[Path], Any]
    refuses: bool = True
    every: int = 1


@cache
def encoder() -> Any:
    """The small CLIP that the samples were made with."""
    import os

    from vlcls import load_encoder

    return load_encoder(os.environ["VLCLS_ENCODER"], device="cpu", precision="fp32")


def make_samples(folder: Path) -> None:
    """A whole file of every format; `VLCLS_ENCODER` names the encoder."""
    import vlcls
    from vlcls.retrieval import build_captions, read_captions

    make_world(folder)
    classifier = vlcls.build_classifier(CLASSES, encoder=encoder(), templates="simple", cache=False)
    classifier.save_pretrained(folder / "saved")
    build_captions(read_captions(folder / "captions.jsonl"), folder / "captions-db", encoder())
    _learn(folder)
    _evaluate(folder)
    _texts(folder)
    _arrays(folder)
    _shards(folder / "shards")
    _session(folder)
    _store(folder)
    _sorted(folder)


def _sorted(folder: Path) -> None:
    import vlcls

    paths = [folder / "captions.jsonl", folder / "animals.json"]
    results = [vlcls.Classification(str(path), (vlcls.Prediction("cat", 0.9, 0, "0"),)) for path in paths]
    vlcls.sort_into(results, paths, folder / "sorted", "link")


def _learn(folder: Path) -> None:
    import torch

    import vlcls
    from vlcls.learning.checkpoint import Epoch, State, save_state

    settings = vlcls.Training(epochs=2, batch_size=8)
    result = vlcls.learn_names(
        list(CLASSES), folder / "photos", encoder(), "simple", settings=settings, cache=False
    )
    result.save(folder / "learned")
    vectors = torch.ones(3, 4)
    optimiser = {"step": torch.tensor(1.0), "exp_avg": vectors, "exp_avg_sq": vectors}
    state = State(vectors, vectors * 2, 1, optimiser, (Epoch(1, 0.5, None, None),))
    (folder / "learning").mkdir()
    save_state(state, folder / "learning", RUN)


RUN = {"settings": {"epochs": 2}, "images": "x"}


def _evaluate(folder: Path) -> None:
    import vlcls

    vlcls.evaluate(folder / "photos", "photo,ensemble", encoder(), folder / "run", controls=False)


def _texts(folder: Path) -> None:
    texts = {
        "own.json": json.dumps({
            "format": "vlcls-descriptors", "version": 1, "style": "descriptors",
            "sources": {"llm": {"model": "m"}},
            "classes": [
                {"name": "cat", "descriptors": [{"text": "fur", "source": "llm", "weight": 0.5}, "a tail"]},
                {"name": "dog", "id": "d", "descriptors": ["a wet nose"]},
            ],
        }),
        "ids.json": json.dumps({"0": "cat", "1": "dog"}),
        "list.json": json.dumps(["cat", "dog"]),
        "ids.tsv": "n01\tcat\nn02\tdog\n",
        "labels.csv": "id,name\n0,cat\n1,dog\n",
        "labels.yaml": "- cat\n- dog\n",
        "table.csv": "image,label\n" + "".join(f"photos/{name}/0.jpg,{name}\n" for name in CLASSES),
        "table.jsonl": "".join(f'{{"image": "photos/{n}/0.jpg", "label": "{n}"}}\n' for n in CLASSES),
        "siblings.json": json.dumps({"confusions": [{"true": "cat", "predicted": "dog", "count": 3}]}),
        "siblings.csv": "true,predicted,count\ncat,dog,3\n",
        "question.j2": "What does {{ name | a }} look like?\n",
        "templates.txt": "a photo of a {}.\na drawing of a {}.\n",
        "points.csv": "# three models\nmodel,a,b\nx,0.5,0.4\ny,0.6,0.5\nz,0.7,0.5\n",
        "suite.yaml": "about: x\nsets:\n  - {name: p, path: \"{data}/photos\"}\nmethods: [photo]\n",
        "answers.jsonl": "".join(
            json.dumps({"key": "k" * 60 + f"{n:04}", "class": name, "answer": "- a tail", "tokens": 3}) + "\n"
            for n, name in enumerate(CLASSES)
        ),
        "images.txt": "photos/cat/0.jpg\nphotos/dog/0.jpg\n",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _arrays(folder: Path) -> None:
    import faiss
    import pyarrow as pa
    from pyarrow import parquet

    rows = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    np.save(folder / "rows.npy", rows)
    np.savez(folder / "rows.npz", embeddings=rows, names=np.array([f"{n}.jpg" for n in range(6)]))
    table = pa.table({"path": [f"{n}.jpg" for n in range(6)], "embedding": list(map(list, rows))})
    parquet.write_table(table, folder / "rows.parquet")
    parquet.write_table(
        pa.table({"image": [f"photos/{name}/0.jpg" for name in CLASSES], "label": list(CLASSES)}),
        folder / "table.parquet",
    )
    parquet.write_table(pa.table({"caption": ["a cat", "a dog on grass"]}), folder / "captions.parquet")
    other = folder / "clip-retrieval"
    (other / "text_emb").mkdir(parents=True)
    (other / "metadata").mkdir()
    texts = [f"a {name} on {place}" for name in CLASSES for place in ("grass", "sand")]
    vectors = encoder().encode_texts(texts).numpy()
    np.save(other / "text_emb" / "text_emb_0.npy", vectors.astype(np.float16))
    made = faiss.IndexFlatIP(vectors.shape[1])
    made.add(vectors)
    faiss.write_index(made, str(other / "text.index"))
    parquet.write_table(pa.table({"caption": texts}), other / "metadata" / "metadata_0.parquet")


def _shards(folder: Path) -> None:
    import io

    (folder / "test").mkdir(parents=True)
    (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    with tarfile.open(folder / "test" / "0.tar", "w") as archive:
        for number, name in enumerate(CLASSES):
            draw(folder / "one.jpg", number, 0)
            archive.add(folder / "one.jpg", f"{name}.jpg")
            member = tarfile.TarInfo(f"{name}.cls")
            member.size = 1
            archive.addfile(member, io.BytesIO(str(number).encode()))
    (folder / "one.jpg").unlink()


def _session(folder: Path) -> None:
    from vlcls.app import session as sessions
    from vlcls.app.session_files import save
    from vlcls.descriptors import read_descriptors
    from vlcls.descriptors.edits import add

    at = "2026-11-25T00:00:00+00:00"
    started = sessions.started(read_descriptors(folder / "own.json"), {"images": "x"}, at)
    known = started.descriptors
    more = sessions.edited(started, add(known, known.labels.ids[0], ["a red body"]), "one", at)
    (folder / "session").mkdir()
    save(more, folder / "session")


def _store(folder: Path) -> None:
    from vlcls.embeddings import embed_texts
    from vlcls.store import EmbeddingStore

    embed_texts(list(CLASSES), encoder(), store=EmbeddingStore(folder / "store"))


# ---- readers -----------------------------------------------------------------------------------------------


def _classifier(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        import torch

        import vlcls

        loaded = vlcls.load(folder / name, encoder())
        rows = torch.nn.functional.normalize(torch.ones(2, encoder().embedding_dim))
        return [each.score for each in loaded.predict(rows)]

    return read


def _labels(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from vlcls.labels import read_labels

        return read_labels(folder / name)

    return read


def _set(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from vlcls.evaluation.data import open_set

        return [part.truth for part in open_set(folder / name).parts(None)]

    return read


def _embeddings(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from vlcls.embedding_files import read_embeddings

        return np.asarray(read_embeddings(folder / name, "image").rows).sum()

    return read


def _captions(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from vlcls.retrieval import open_captions

        database = open_captions(folder / name, encoder())
        return database.search(encoder().encode_texts(["a cat"]).numpy(), 3).rows

    return read


def _caption_source(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from vlcls.retrieval import read_captions

        return list(read_captions(folder / name))

    return read


def _descriptors(folder: Path) -> Any:
    import vlcls

    classifier = vlcls.build_classifier(descriptors=folder / "own.json", encoder=encoder(), cache=False)
    import torch

    return [each.score for each in classifier.predict(torch.ones(1, encoder().embedding_dim))]


def _plain_descriptors(folder: Path) -> Any:
    import vlcls

    return vlcls.build_classifier(descriptors=folder / "animals.json", encoder=encoder(), cache=False)


def _compare(folder: Path) -> Any:
    from vlcls.evaluation.report.comparison import compare_runs
    from vlcls.evaluation.report.run_files import read_predictions, read_results

    results = read_results(folder / "run")
    for cell in results["cells"]:
        read_predictions(folder / "run", cell)
    return compare_runs(folder / "run", folder / "run")


def _resume(folder: Path) -> Any:
    import vlcls

    found = vlcls.evaluate(folder / "photos", "photo,ensemble", encoder(), folder / "run", controls=False)
    assert len(found["cells"]) == 2
    return found


def _checkpoint(folder: Path) -> Any:
    from vlcls.learning.checkpoint import load_state

    return load_state(folder / "learning", RUN)


def _opened_session(folder: Path) -> Any:
    from vlcls.app.session_files import load

    return load(folder / "session")


def _siblings(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from vlcls.labels import as_labels
        from vlcls.llm.contrast import read_siblings

        return read_siblings(str(folder / name), as_labels(CLASSES))

    return read


def _questions(folder: Path) -> Any:
    from vlcls.labels import as_labels
    from vlcls.llm.requests import questions

    return questions(as_labels(CLASSES), instructions=folder / "question.j2")


def _log(folder: Path) -> Any:
    from vlcls.llm.log import AnswerLog

    log = AnswerLog(folder / "answers.jsonl")
    found = [log.get("k" * 60 + f"{n:04}") for n in range(len(CLASSES))]
    log.close()
    return found


def _templates(folder: Path) -> Any:
    import vlcls

    return vlcls.build_classifier(
        CLASSES, encoder=encoder(), templates=str(folder / "templates.txt"), cache=False
    )


def _fit(folder: Path) -> Any:
    from vlcls.evaluation.metrics.robustness import read_fit

    return read_fit(folder / "points.csv", "a", "b")


def _suite(folder: Path) -> Any:
    from vlcls.evaluation.data.suites import open_suite_set, read_suite

    suite = read_suite(folder / "suite.yaml")
    return [open_suite_set(suite, each.name, folder) for each in suite.sets]


def _stored(folder: Path) -> Any:
    rows = _rows_of_store(folder)
    assert np.allclose(rows, encoder().encode_texts(list(CLASSES)).numpy(), atol=1e-5)


def _stored_under_the_right_name(folder: Path) -> Any:
    """A shard of somebody who knows how they are named: values of his are no fault that could be seen."""
    import hashlib

    for shard in filter(Path.is_file, (folder / "store").rglob("*.safetensors")):
        shard.rename(shard.with_name(f"{hashlib.sha256(shard.read_bytes()).hexdigest()}.safetensors"))
    return _rows_of_store(folder).tolist()


def _rows_of_store(folder: Path) -> Any:
    from vlcls.embeddings import embed_texts
    from vlcls.store import EmbeddingStore

    store = EmbeddingStore(folder / "store")
    rows = embed_texts(list(CLASSES), encoder(), store=store)
    store.info()
    store.verify()
    return rows.numpy()


def _manifest(folder: Path) -> Any:
    from vlcls.results.manifest import MANIFEST, Manifest

    found = Manifest(folder / "sorted" / MANIFEST)
    return [each.to for each in found.placed], found.head.made


def _images(folder: Path) -> Any:
    from vlcls.image_sources import find_images

    return find_images([folder / "images.txt"])


SHARD = "store/**/*.safetensors"
FORMATS = {
    "saved classifier": Format("saved/classifier.json", _classifier("saved")),
    "its weights": Format("saved/*.safetensors", _classifier("saved")),
    "learned names": Format("learned/classifier.json", _classifier("learned")),
    "learned vectors": Format("learned/*.safetensors", _classifier("learned")),
    "checkpoint": Format("learning/*.safetensors", _checkpoint),
    "descriptors": Format("own.json", _descriptors),
    "plain descriptors": Format("animals.json", _plain_descriptors),
    "ids to names": Format("ids.json", _labels("ids.json")),
    "list of names": Format("list.json", _labels("list.json")),
    "ids, tab, names": Format("ids.tsv", _labels("ids.tsv")),
    "names in CSV": Format("labels.csv", _labels("labels.csv")),
    "names in YAML": Format("labels.yaml", _labels("labels.yaml")),
    "table in CSV": Format("table.csv", _set("table.csv")),
    "table in JSON Lines": Format("table.jsonl", _set("table.jsonl")),
    "table in Parquet": Format("table.parquet", _set("table.parquet")),
    "shard": Format("shards/test/0.tar", _set("shards")),
    "class names of shards": Format("shards/classnames.txt", _set("shards")),
    "embeddings, npy": Format("rows.npy", _embeddings("rows.npy")),
    "embeddings, npz": Format("rows.npz", _embeddings("rows.npz")),
    "embeddings, Parquet": Format("rows.parquet", _embeddings("rows.parquet")),
    "caption database": Format("captions-db/database.json", _captions("captions-db")),
    "captions of a database": Format("captions-db/captions-*", _captions("captions-db")),
    "index of a database": Format("captions-db/captions.index", _captions("captions-db")),
    "captions of clip-retrieval": Format("clip-retrieval/metadata/*.parquet", _captions("clip-retrieval")),
    "vectors of clip-retrieval": Format("clip-retrieval/text_emb/*.npy", _captions("clip-retrieval")),
    "captions, text": Format("captions/a.txt", _caption_source("captions/a.txt"), refuses=False),
    "captions, JSON Lines": Format("captions.jsonl", _caption_source("captions.jsonl")),
    "captions, Parquet": Format("captions.parquet", _caption_source("captions.parquet")),
    "results": Format("run/results.json", _compare),
    "predictions": Format("run/predictions/*.parquet", _compare),
    "cells": Format("run/cells/*.json", _resume, refuses=False, every=40),
    "start of a session": Format("session/start.json", _opened_session),
    "session": Format("session/session.json", _opened_session),
    "siblings": Format("siblings.json", _siblings("siblings.json")),
    "siblings in CSV": Format("siblings.csv", _siblings("siblings.csv")),
    "instructions": Format("question.j2", _questions),
    "answers": Format("answers.jsonl", _log, refuses=False),
    "templates": Format("templates.txt", _templates),
    "accuracies": Format("points.csv", _fit),
    "suite": Format("suite.yaml", _suite),
    "stored embeddings": Format(SHARD, _stored, refuses=False),
    "stored embeddings, renamed": Format(SHARD, _stored_under_the_right_name, refuses=False),
    "sorted images": Format("sorted/vlcls-sorted.jsonl", _manifest),
    "list of images": Format("images.txt", _images, refuses=False),
}
