"""Embeddings made elsewhere: every format, and what is wrong with a file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlcls import VlclsError, classifier_from_embeddings
from vlcls.embedding_files import read_embeddings
from vlcls.errors import EmbeddingError, VlclsWarning

ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_npy(tmp_path, dtype):
    np.save(tmp_path / "x.npy", ROWS.astype(dtype))
    given = read_embeddings(tmp_path / "x.npy", "image")
    np.testing.assert_array_equal(given.rows, ROWS.astype(dtype))
    assert given.names == ["0", "1", "2", "3", "4"]


def test_npz_picks_by_name_and_kind(tmp_path):
    np.savez(tmp_path / "one.npz", whatever=ROWS)
    np.savez(tmp_path / "two.npz", image_emb=ROWS, text_emb=ROWS[:2])
    np.savez(tmp_path / "unclear.npz", a=ROWS, b=ROWS)
    assert read_embeddings(tmp_path / "one.npz", "image").rows.shape == (5, 4)
    assert read_embeddings(tmp_path / "two.npz", "text").rows.shape == (2, 4)
    with pytest.raises(EmbeddingError, match="'a', 'b'"):
        read_embeddings(tmp_path / "unclear.npz", "image")


@pytest.mark.parametrize("fixed", [True, False])
def test_parquet_with_names(tmp_path, fixed):
    kind = pa.list_(pa.float32(), 4) if fixed else pa.list_(pa.float32())
    table = pa.table({"image_path": list("abcde"), "image_embedding": pa.array(ROWS.tolist(), kind)})
    pq.write_table(table, tmp_path / "x.parquet")
    given = read_embeddings(tmp_path / "x.parquet", "image")
    np.testing.assert_array_equal(given.rows, ROWS)
    assert given.names == list("abcde")


def test_parquet_with_ragged_missing_or_no_vectors(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"embedding": [[1.0, 2.0], [1.0]]}), path)
    with pytest.raises(EmbeddingError, match="different widths"):
        read_embeddings(path, "image")
    pq.write_table(pa.table({"embedding": [[1.0, 2.0], None]}), path)
    with pytest.raises(EmbeddingError, match="1 rows of column 'embedding' are empty"):
        read_embeddings(path, "image")
    pq.write_table(pa.table({"caption": ["a"]}), path)
    with pytest.raises(EmbeddingError, match="none of its columns"):
        read_embeddings(path, "image")


def test_clip_retrieval_folder_in_numeric_order(tmp_path):
    for part in (0, 2, 10):
        for kind in ("img_emb", "text_emb"):
            (tmp_path / kind).mkdir(exist_ok=True)
            np.save(tmp_path / kind / f"{kind}_{part}.npy", np.full((2, 3), part + (kind == "text_emb")))
        (tmp_path / "metadata").mkdir(exist_ok=True)
        names = [f"{part}-0.jpg", f"{part}-1.jpg"]
        pq.write_table(pa.table({"image_path": names}), tmp_path / "metadata" / f"metadata_{part}.parquet")
    given = read_embeddings(tmp_path, "image")
    assert given.rows[:, 0].tolist() == [0, 0, 2, 2, 10, 10]
    assert given.names == ["0-0.jpg", "0-1.jpg", "2-0.jpg", "2-1.jpg", "10-0.jpg", "10-1.jpg"]
    assert read_embeddings(tmp_path, "text").rows[:, 0].tolist() == [1, 1, 3, 3, 11, 11]


def test_errors_name_the_file(tmp_path):
    with pytest.raises(EmbeddingError, match=r"missing\.npy: no such file"):
        read_embeddings(tmp_path / "missing.npy", "image")
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(EmbeddingError, match=r"x\.csv: \.npy, \.npz, \.parquet"):
        read_embeddings(tmp_path / "x.csv", "image")
    np.save(tmp_path / "flat.npy", ROWS[0])
    with pytest.raises(EmbeddingError, match=r"flat\.npy: numbers \[rows, width\]"):
        read_embeddings(tmp_path / "flat.npy", "image")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(EmbeddingError, match=r"objects\.npy"):
        read_embeddings(tmp_path / "objects.npy", "image")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmbeddingError, match="neither img_emb"):
        read_embeddings(tmp_path / "empty", "image")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=200), suffix=st.sampled_from([".npy", ".npz", ".parquet"]), valid=st.booleans()
)
def test_garbage_is_an_embedding_error(tmp_path, data, suffix, valid):
    path = tmp_path / f"x{suffix}"
    path.write_bytes((b"\x93NUMPY\x01\x00" if valid and suffix == ".npy" else b"") + data)
    try:
        given = read_embeddings(path, "image")
    except VlclsError as error:
        assert str(path) in str(error)
    else:
        assert given.rows.ndim == 2


def test_scores_equal_a_plain_loop():
    rng = np.random.default_rng(1)
    texts, images = rng.normal(size=(3, 6)), rng.normal(size=(4, 6))
    classifier = classifier_from_embeddings(["a", "b", "c"], texts, logit_scale=50.0)
    scores = classifier.scores(images)
    for i in range(4):
        for c in range(3):
            cosine = images[i] @ texts[c] / np.linalg.norm(images[i]) / np.linalg.norm(texts[c])
            assert scores[i, c] == pytest.approx(50 * cosine, abs=1e-4)
    assert classifier.predict(images, top_k=1)[0].top_k[0].index == int(scores[0].argmax())


# ---- parts, and numbers that are none ------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["img_emb", ""])
def test_parts_of_unlike_width_are_named(tmp_path, layout):
    (tmp_path / layout).mkdir(exist_ok=True)
    for part, width in ((0, 8), (1, 8), (2, 7)):
        np.save(tmp_path / layout / f"img_emb_{part}.npy", np.ones((2, width), np.float32))
    with pytest.raises(EmbeddingError, match=r"img_emb_2\.npy: rows of 7 numbers, .* img_emb_0\.npy have 8"):
        read_embeddings(tmp_path, "image")


@pytest.mark.parametrize("dtype", [np.complex64, np.bool_, "U3", "M8[s]", np.void(b"ab").dtype])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_other_values_than_real_numbers_are_refused(tmp_path, dtype, suffix):
    path = tmp_path / f"x{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, np.zeros((2, 3), dtype))
    with pytest.raises(EmbeddingError, match=r"numbers \[rows, width\] are expected, not .* \[2, 3\]"):
        read_embeddings(path, "image")


@pytest.mark.parametrize(
    "column",
    [[["a", "b"]], [[{"x": 1.0}]], [[[1.0], [2.0]]], [[1.0, None]], [[True, False]]],
    ids=["texts", "structs", "lists", "nulls", "truths"],
)
def test_parquet_lists_of_something_else(tmp_path, column):
    pq.write_table(pa.table({"embedding": column}), tmp_path / "x.parquet")
    with pytest.raises(EmbeddingError, match=r"x\.parquet: column 'embedding' holds .*; lists of numbers"):
        read_embeddings(tmp_path / "x.parquet", "image")


def test_parquet_without_rows(tmp_path):
    pq.write_table(pa.table({"embedding": pa.array([], pa.list_(pa.float32()))}), tmp_path / "x.parquet")
    with pytest.raises(EmbeddingError, match="no rows in it"):
        read_embeddings(tmp_path / "x.parquet", "image")


def test_metadata_that_does_not_fit_is_said(tmp_path):
    (tmp_path / "metadata").mkdir()
    np.save(tmp_path / "img_emb_0.npy", ROWS)
    pq.write_table(pa.table({"image_path": ["a"]}), tmp_path / "metadata" / "metadata_0.parquet")
    with pytest.warns(VlclsWarning, match="1 names in its metadata for 5 embeddings: rows are numbered"):
        assert read_embeddings(tmp_path, "image").names == list("01234")


FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from vlcls.embedding_files import read_embeddings
print(len(read_embeddings(sys.argv[1], "image").rows))
"""


def test_a_folder_of_more_files_than_may_be_open(tmp_path: Path):
    pytest.importorskip("resource")
    (tmp_path / "img_emb").mkdir()
    for number in range(101):
        np.save(tmp_path / "img_emb" / f"img_emb_{number}.npy", ROWS)
    done = subprocess.run([sys.executable, "-c", FEW_FILES, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout == f"{101 * len(ROWS)}\n", done.stderr
