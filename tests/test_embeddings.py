"""Embedding many images and texts: order, completeness, errors, the store, interruption, two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import vlcls
from vlcls import embeddings as module
from vlcls.embeddings import EmbeddedImages, embed_images, embed_texts
from vlcls.encoders import Encoder
from vlcls.image_sources import as_sources
from vlcls.store import EmbeddingStore

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def expected(clip: Encoder, photos: list[Path]) -> torch.Tensor:
    """The 64 photos embedded one at a time, by nothing but the encoder and Pillow."""
    rows = [clip.encode_images(clip.preprocess(Image.open(path).convert("RGB"))[None]) for path in photos]
    found = torch.cat(rows)
    assert torch.pdist(found).min() > 1e-3  # else an exchange of two would go unseen
    return found


@pytest.fixture
def encoded(clip: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all image batches that reach the encoder from now on."""
    sizes: list[int] = []
    own = clip.encode_images
    monkeypatch.setattr(clip, "encode_images", lambda pixels: sizes.append(len(pixels)) or own(pixels))
    return sizes


def joined(parts: Sequence[EmbeddedImages], names: Sequence[Any]) -> tuple[torch.Tensor, dict[int, str]]:
    """Embeddings and errors of all images, having checked that the parts follow each other without gaps."""
    place, rows, errors = 0, [], {}
    for part in parts:
        assert part.start == place
        mine = names[place : place + len(part.sources)]
        assert [source.name for source in part.sources] == [str(name) for name in mine]
        assert part.embeddings.shape[0] == len(part.sources) > 0
        assert part.embeddings.dtype == torch.float32
        assert set(part.errors) <= set(range(len(part.sources)))
        errors.update({place + row: message for row, message in part.errors.items()})
        rows.append(part.embeddings)
        place += len(part.sources)
    assert place == len(names)
    return torch.cat(rows) if rows else torch.zeros(0, 48), errors


def embed(paths: Sequence[Any], encoder: Encoder, **options: Any) -> list[EmbeddedImages]:
    return list(embed_images(as_sources(list(paths)), encoder, **options))


# ---- one process ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("count", [0, 1, 7, 64])
def test_order_and_completeness(count: int, batch_size: int, clip, photos, expected, encoded):
    done: list[int] = []
    paths = photos[:count][::-1]  # not the order a folder would be read in
    parts = embed(paths, clip, batch_size=batch_size, workers=3, progress=done.append)
    found, errors = joined(parts, paths)
    assert errors == {}
    assert count == 0 or (found - expected[:count].flip(0)).abs().max() <= 1e-5
    assert sum(done) == sum(part.encoded for part in parts) == sum(encoded) == count
    assert all(size <= batch_size for size in encoded)


def test_unreadable_images_stop_nothing(tmp_path: Path, clip, photos, expected, encoded):
    text, empty, cut = tmp_path / "text.jpg", tmp_path / "empty.png", tmp_path / "cut.png"
    text.write_text("this is no image")
    empty.touch()
    cut.write_bytes(photos[0].read_bytes()[:200])
    paths = [photos[0], text, photos[1], tmp_path / "missing.png", empty, cut, photos[2]]
    bad = {1, 3, 4, 5}
    done: list[int] = []
    parts = embed(paths, clip, batch_size=3, store=EmbeddingStore(tmp_path / "c"), progress=done.append)
    found, errors = joined(parts, paths)
    assert set(errors) == bad
    for row in bad:
        assert str(paths[row]) in errors[row]
        assert not found[row].any()
    assert (found[[0, 2, 6]] - expected[:3]).abs().max() <= 1e-5
    assert sum(encoded) == sum(part.encoded for part in parts) == 3
    assert sum(done) == len(paths)


def test_only_unreadable_images(tmp_path: Path, clip, encoded):
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    found, errors = joined(embed(paths, clip, batch_size=2), paths)
    assert set(errors) == set(range(5)) and not found.any() and encoded == []


def test_equal_images_in_a_batch_are_encoded_once(tmp_path: Path, clip, photos, expected, encoded):
    copies = [tmp_path / f"{number}.png" for number in range(6)]
    for number, path in enumerate(copies):
        path.write_bytes(photos[number % 2].read_bytes())
    found, _ = joined(embed(copies, clip, batch_size=6), copies)
    assert sum(encoded) == 2
    assert (found - expected[:2].repeat(3, 1)).abs().max() <= 1e-5
    encoded.clear()  # over batches the store remembers
    found, _ = joined(embed(copies, clip, batch_size=1, store=EmbeddingStore(tmp_path / "cache")), copies)
    assert sum(encoded) == 2
    assert (found - expected[:2].repeat(3, 1)).abs().max() <= 1e-5


def test_a_second_run_encodes_nothing(tmp_path: Path, clip, photos, encoded):
    store = EmbeddingStore(tmp_path)
    first, _ = joined(embed(photos[:20], clip, store=store, batch_size=8), photos[:20])
    assert sum(encoded) == 20
    encoded.clear()
    parts = embed(photos[:20], clip, store=EmbeddingStore(tmp_path), batch_size=3)
    second, _ = joined(parts, photos[:20])
    assert encoded == [] and sum(part.encoded for part in parts) == 0
    assert torch.equal(first, second)
    third, _ = joined(embed(photos[10:30], clip, store=store), photos[10:30])
    assert sum(encoded) == 10
    assert torch.equal(third[:10], first[10:])


def test_images_in_memory_are_stored_too(tmp_path: Path, clip, picture, encoded):
    images = [picture(seed) for seed in range(3)]
    for _ in range(2):
        found = torch.cat([part.embeddings for part in embed(images, clip, store=EmbeddingStore(tmp_path))])
    assert sum(encoded) == 3
    assert (found - clip.encode_images(torch.stack([clip.preprocess(i) for i in images]))).abs().max() < 1e-5


def test_reduced_decoding_has_a_partition_of_its_own(tmp_path: Path, clip, picture, encoded):
    path = tmp_path / "large.jpg"
    picture(1, 500, 400).save(path, quality=95)
    store = EmbeddingStore(tmp_path / "cache")
    reduced = embed([path], clip, store=store)[0].embeddings
    full = embed([path], clip, store=store, reduced_decode=False)[0].embeddings
    assert sum(encoded) == 2
    own = clip.encode_images(clip.preprocess(Image.open(path).convert("RGB"))[None])
    assert (full - own).abs().max() <= 1e-5
    assert not torch.equal(full, reduced)
    assert {part.kind: part.embeddings for part in store.info()} == {"images": 1, "images-full-decode": 1}
    encoded.clear()
    assert torch.equal(embed([path], clip, store=store)[0].embeddings, reduced)
    assert torch.equal(embed([path], clip, store=store, reduced_decode=False)[0].embeddings, full)
    assert encoded == []


def test_reading_ahead_is_bounded(clip, photos, monkeypatch: pytest.MonkeyPatch):
    batch, lock = 4, threading.Lock()
    bound = (module.PREFETCH_BATCHES + 1) * batch
    read = yielded = worst = 0
    own = module.load_source

    def counted(source: Any) -> Any:
        nonlocal read, worst
        with lock:
            read += 1
            worst = max(worst, read - yielded)
        return own(source)

    monkeypatch.setattr(module, "load_source", counted)
    for part in embed_images(as_sources(photos[:40]), clip, batch_size=batch, workers=4):
        with lock:
            yielded += len(part.sources)
        if part.start == 0:  # while the first batch is being looked at, the next ones are read: no more
            patience = time.monotonic() + 20
            while read < bound and time.monotonic() < patience:
                time.sleep(0.01)
            time.sleep(0.1)
            assert read == bound
    assert read == yielded == 40
    assert worst <= bound


def test_stopping_early_leaves_no_threads_and_keeps_what_was_encoded(tmp_path: Path, clip, photos, encoded):
    before = threading.active_count()
    run = embed_images(as_sources(photos), clip, batch_size=4, store=EmbeddingStore(tmp_path))
    next(run)
    run.close()
    assert threading.active_count() == before
    embed(photos[:4], clip, store=EmbeddingStore(tmp_path))
    assert sum(encoded) == 4


# ---- texts ---------------------------------------------------------------------------------------------


def test_texts_are_encoded_once_and_come_in_order(tmp_path: Path, clip, monkeypatch: pytest.MonkeyPatch):
    rows: list[int] = []
    own = clip.text_features
    monkeypatch.setattr(clip, "text_features", lambda tokens: rows.append(len(tokens.ids)) or own(tokens))
    texts = ["a cat", "a long photo of a small dog", "a cat", "", "写真", "a horse"]
    wanted = torch.cat([clip.encode_texts([text]) for text in texts])
    rows.clear()
    assert (embed_texts(texts, clip) - wanted).abs().max() <= 1e-5
    assert sum(rows) == 5
    rows.clear()
    done: list[int] = []
    first = embed_texts(texts[:3], clip, store=EmbeddingStore(tmp_path), progress=done.append)
    assert sum(rows) == 2 and sum(done) == 2
    both = embed_texts(texts, clip, store=EmbeddingStore(tmp_path), progress=done.append)
    assert sum(rows) == 5 and sum(done) == 2 + 5
    again = embed_texts(texts[::-1], clip, store=EmbeddingStore(tmp_path))
    assert sum(rows) == 5  # nothing new
    assert (both - wanted).abs().max() <= 1e-5
    assert torch.equal(both[:3], first) and torch.equal(again, both.flip(0))
    assert embed_texts([], clip, store=EmbeddingStore(tmp_path)).shape == (0, clip.embedding_dim)


# ---- a run that is killed ------------------------------------------------------------------------------

INTERRUPTED = """
import sys, time
import vlcls
from vlcls import store
from vlcls.embeddings import embed_images
from vlcls.image_sources import as_sources
store.partition.FLUSH_SECONDS = -1.0
encoder = vlcls.load_encoder(sys.argv[1], "cpu", "fp32")
cache = store.EmbeddingStore(sys.argv[2])
for part in embed_images(as_sources(sys.argv[3:]), encoder, batch_size=4, store=cache):
    print(part.start + len(part.sources), flush=True)
    time.sleep(0.2)
"""


def test_after_a_kill_only_the_rest_is_encoded(tmp_path: Path, clip, photos, expected, encoded):
    arguments = [clip.spec, str(tmp_path), *map(str, photos)]
    run = subprocess.Popen([sys.executable, "-c", INTERRUPTED, *arguments], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    finished = [int(run.stdout.readline()) for _ in range(3)][-1]
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    finished = max([finished, *map(int, run.stdout.read().split())])
    run.stdout.close()
    store = EmbeddingStore(tmp_path)
    kept = len(store.partition(clip, "images"))
    assert finished <= kept < len(photos)
    found, errors = joined(embed(photos, clip, store=store), photos)
    assert sum(encoded) == len(photos) - kept
    assert errors == {} and (found - expected).abs().max() <= 1e-5
    assert store.verify().bad == []


# ---- two processes -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory, clip: Encoder, photos: list[Path]) -> dict[str, Any]:
    """The job, and what each of two processes made of it."""
    folder = tmp_path_factory.mktemp("launched")
    bad = folder / "bad.jpg"
    bad.write_text("this is no image")
    images = [str(path) for path in photos]
    images[3] = str(bad)
    job = {
        "spec": clip.spec,
        "labels": ["cat", "dog", "horse", "small red apple", "elephant"],
        "images": images,
        "counts": [1, 7, 64],
        "batch_size": 4,
        "texts": ["a cat", "a dog", "a small horse"],
        "cache": str(folder / "cache"),
        "output": str(folder),
    }
    (folder / "job.json").write_text(json.dumps(job))
    # `--cpu --num_processes 2` starts one process (accelerate 1.15 wants MPI for more). `--multi_gpu` is its
    # name for torchrun, and ACCELERATE_USE_CPU keeps the processes off any real GPU.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", "0", str(TESTS / "launched.py"), str(folder / "job.json")]
    path = os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "ACCELERATE_USE_CPU": "true"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-4000:]
    ranks = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    texts = [json.loads((folder / f"texts {rank}.json").read_text()) for rank in range(2)]
    return {"job": job, "ranks": ranks, "texts": texts}


def same(found: list[Any], wanted: Sequence[vlcls.Classification]) -> None:
    assert [image for image, _, _ in found] == [item.image for item in wanted]
    assert [error for _, error, _ in found] == [item.error for item in wanted]
    for (_, _, top), item in zip(found, wanted, strict=True):
        assert [label for label, _ in top] == [p.label for p in item.top_k]
        assert [score for _, score in top] == pytest.approx([p.score for p in item.top_k], abs=1e-5, rel=0)


def test_two_processes_give_what_one_gives(launched: dict[str, Any], clip: Encoder):
    job = launched["job"]
    classifier = vlcls.build_classifier(job["labels"], clip, "simple", cache=False)
    wanted = classifier.predict(job["images"], 9, cache=False)
    assert [item.error is not None for item in wanted] == [row == 3 for row in range(64)]
    for rank in launched["ranks"]:
        assert rank["world"] == 2
        assert (torch.tensor(rank["weights"]) - classifier.zero_shot_weights).abs().max() <= 1e-5
        for count in job["counts"]:
            same(rank[str(count)], wanted[:count])
        for run in ("first", "second"):
            same(rank[run], wanted)
            assert rank[f"{run} progress"] == 64
        assert rank["second"] == rank["first"]


def test_two_processes_share_one_store(launched: dict[str, Any], clip: Encoder, encoded: list[int]):
    job = launched["job"]
    store = EmbeddingStore(job["cache"])
    assert store.verify().bad == []
    counts = {part.kind: part.embeddings for part in store.info()}
    assert counts == {"images": 63, "texts": 5 * 7}
    embed(job["images"], clip, store=store)
    assert encoded == []


def test_processes_whose_stores_differ_agree_on_texts(launched: dict[str, Any], clip: Encoder):
    wanted = clip.encode_texts(launched["job"]["texts"])
    assert [rank["world"] for rank in launched["ranks"]] == [2, 2]
    for found in launched["texts"]:
        assert not isinstance(found, str), found
        assert (torch.tensor(found) - wanted).abs().max() <= 1e-5


GetEncoder = Callable[[str], Encoder]


def test_another_family_reads_and_embeds_alike(get_encoder: GetEncoder, photos: list[Path]):
    encoder = get_encoder("hf-siglip")
    found, _ = joined(embed(photos[:5], encoder, batch_size=2), photos[:5])
    pixels = torch.stack([encoder.preprocess(Image.open(path).convert("RGB")) for path in photos[:5]])
    assert (found - encoder.encode_images(pixels)).abs().max() <= 1e-5


def test_one_image_that_upsets_the_model_does_not_stop_the_others(clip, photos, monkeypatch):
    """A preprocessing that fails, and an encoder that overflows, on one image each."""
    preprocess, image_features = clip.preprocess, clip.image_features
    upset = preprocess(Image.open(photos[3]).convert("RGB"))

    def fussy(image):
        if image.tobytes() == Image.open(photos[1]).convert("RGB").tobytes():
            raise ValueError("no such size")
        return preprocess(image)

    def overflowing(pixels):
        features = image_features(pixels).clone()
        mean, std = clip._channel_stats
        bad = ((pixels * std + mean) * 255 - upset).abs().amax((1, 2, 3)) < 0.5
        features[bad] = float("inf")
        return features

    monkeypatch.setattr(clip, "preprocess", fussy, raising=False)
    monkeypatch.setattr(clip, "image_features", overflowing, raising=False)
    (batch,) = embed_images(as_sources(photos[:5]), clip, batch_size=8)
    assert set(batch.errors) == {1, 3}
    assert photos[1].name in batch.errors[1] and "no such size" in batch.errors[1]
    assert photos[3].name in batch.errors[3] and "overflows" in batch.errors[3]
    assert batch.embeddings[[0, 2, 4]].norm(dim=1).allclose(torch.ones(3))
