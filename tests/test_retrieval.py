"""Caption databases: what they take, how they are built, killed, continued, searched and refused."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlcls.encoders import Encoder
from vlcls.errors import CaptionError, EncoderMismatchError, MissingExtraError
from vlcls.retrieval import build, build_captions, index, open_captions, read_captions
from vlcls.retrieval.builtin import wordnet_texts, wordnet_words
from vlcls.retrieval.index import build_index, choose_factory, exact_neighbours, recall, take_rows
from vlcls.retrieval.opening import encoder_of
from vlcls.retrieval.sources import LONGEST_CAPTION, clean_caption
from vlcls.store import EmbeddingStore

TESTS = Path(__file__).parent
TEXTS = wordnet_texts()[::350]  # 63


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "PART_ROWS", 16)


@pytest.fixture
def encoded(clip: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All texts that reach the encoder from now on."""
    seen: list[str] = []
    own = clip.encode_texts
    monkeypatch.setattr(clip, "encode_texts", lambda texts, **o: seen.extend(texts) or own(texts, **o))
    return seen


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ---- sources -----------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The same captions in every kind of file."""
    texts = ["a cat", 'with "quotes", commas', "写真 🐱", "a cat"]
    paths = {kind: tmp_path / f"captions.{kind}" for kind in ("txt", "jsonl", "csv", "tsv", "parquet")}
    paths["txt"].write_text("\n".join(texts), encoding="utf-8")
    paths["jsonl"].write_text("".join(json.dumps({"id": 1, "caption": text}) + "\n" for text in texts))
    for kind, delimiter in (("csv", ","), ("tsv", "\t")):
        with paths[kind].open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter).writerows(
                [("id", "caption"), *((1, text) for text in texts)]
            )
    pq.write_table(pa.table({"id": [1] * 4, "caption": texts}), paths["parquet"])
    return paths


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv", "parquet"])
def test_every_kind_of_file(kind: str, files: dict[str, Path]):
    assert list(read_captions(files[kind])) == ["a cat", 'with "quotes", commas', "写真 🐱", "a cat"]


def test_folders_columns_and_lists(tmp_path: Path, files: dict[str, Path]):
    assert len(list(read_captions(tmp_path))) == 5 * 4
    rows = [{"alt": ["one", "two"], "n": 3}, {"alt": "three"}, {"n": 4}, {"alt": None}, {"alt": 5}]
    path = tmp_path / "other" / "x.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_captions(path, "alt")) == ["one", "two", "three", None, None, None]
    with pytest.raises(CaptionError, match=r"no column has a usual name: .*'alt', 'n'"):
        list(read_captions(path))
    with pytest.raises(CaptionError, match=r"no column 'nothing'.*'id', 'caption'"):
        list(read_captions(files["csv"], "nothing"))
    with pytest.raises(CaptionError, match=r"no column 'nothing'.*'id', 'caption'"):
        list(read_captions(files["parquet"], "nothing"))
    path.write_text('"a text"\n\nnot json\n["x", "y"]\n')
    assert list(read_captions(path)) == ["a text", None, None, "x", "y"]


def test_data_sets_are_streamed(tmp_path: Path, files: dict[str, Path]):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.parquet").write_bytes(files["parquet"].read_bytes())
    assert list(read_captions(f"hf:{folder}")) == ["a cat", 'with "quotes", commas', "写真 🐱", "a cat"]
    with pytest.raises(CaptionError, match=r"no column 'alt'.*'id', 'caption'"):
        list(read_captions(f"hf:{folder}", "alt"))
    with pytest.raises(CaptionError, match="no-such-split"):
        list(read_captions(f"hf:{folder}", split="no-such-split"))
    with pytest.raises(CaptionError, match="data set"):
        list(read_captions(f"hf:{tmp_path / 'nowhere'}"))


def test_sources_that_are_none(tmp_path: Path):
    for wrong, message in (("x.jpg", "captions come from"), ("missing.txt", "No such file")):
        with pytest.raises(CaptionError, match=message):
            list(read_captions(tmp_path / wrong))
    with pytest.raises(CaptionError, match="in it"):
        list(read_captions(tmp_path))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(CaptionError, match="not a whole Parquet file"):
        list(read_captions(tmp_path / "bad.parquet"))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clip: Encoder):
    monkeypatch.setitem(sys.modules, "faiss", None)
    index.faiss.cache_clear()
    with pytest.raises(MissingExtraError, match=r"vlcls\[captions\]"):
        build_captions(["a cat"], tmp_path / "db", clip)


# ---- building ----------------------------------------------------------------------------------------------


def test_a_database_holds_each_caption_once(tmp_path: Path, clip: Encoder, small_parts, encoded):
    captions = [*TEXTS, "", None, TEXTS[3], " \t " + TEXTS[4] + "\n", "last"]
    done: list[int] = []
    report = build_captions(captions, tmp_path / "db", clip, progress=done.append)
    assert (report.added, report.repeated, report.empty, report.total) == (64, 2, 2, 64)
    assert sum(done) == 64 and sorted(encoded) == sorted([*TEXTS, "last"])
    database = open_captions(tmp_path / "db", clip)
    assert list(database.captions) == [*TEXTS, "last"] and database.captions[-1] == "last"
    assert database.captions[2:4] == TEXTS[2:4]
    wanted = clip.encode_texts([*TEXTS, "last"]).numpy()
    rows = np.array([40, 0, 63, 15, 16, 0])
    kept = database.embeddings(rows)
    assert kept is not None and (kept == wanted.astype(np.float16)[rows]).all()
    found = database.search(wanted[:9], 5)
    assert (found.rows == np.argsort(-wanted[:9] @ wanted.T, axis=1)[:, :5]).all()
    assert found.similarities[:, 0] == pytest.approx(1, abs=1e-3)
    assert database.info.index.factory == "Flat" and database.info.encoder == clip.spec == encoder_of(
        tmp_path / "db"
    )
    with pytest.raises(CaptionError, match=r"queries \[N, 48\]"):
        database.search(np.ones((1, 7), np.float32), 1)
    assert database.search(wanted[:1], 500).rows.shape == (1, 64)


def test_adding_to_a_database(tmp_path: Path, clip: Encoder, small_parts, encoded):
    build_captions(TEXTS[:20], tmp_path / "db", clip)
    before = contents(tmp_path / "db")
    encoded.clear()
    report = build_captions(TEXTS[:20], tmp_path / "db", clip)  # nothing new
    assert report.added == 0 and report.index is not None and encoded == []
    assert contents(tmp_path / "db") == before
    report = build_captions(TEXTS[10:30], tmp_path / "db", clip)
    assert (report.added, report.repeated, report.total) == (10, 10, 30) and sorted(encoded) == sorted(
        TEXTS[20:30]
    )
    assert list(open_captions(tmp_path / "db", clip).captions) == TEXTS[:30]
    report = build_captions([], tmp_path / "db", clip, index="HNSW8,SQfp16")  # another index
    assert open_captions(tmp_path / "db", clip).info.index.factory == "HNSW8,SQfp16"


KILLED = """
import sys, time, json
import vlcls
from vlcls.retrieval import build, build_captions
build.PART_ROWS = 16
encoder = vlcls.load_encoder(sys.argv[1], "cpu", "fp32")
def slowly():
    for caption in json.load(open(sys.argv[3])):
        time.sleep(0.02)
        yield caption
build_captions(slowly(), sys.argv[2], encoder, progress=lambda count: print(count, flush=True))
"""


def test_a_killed_build_goes_on(tmp_path: Path, clip: Encoder, small_parts, encoded):
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    build_captions(TEXTS, tmp_path / "whole", clip)
    encoded.clear()
    arguments = [clip.spec, str(tmp_path / "db"), str(tmp_path / "texts.json")]
    run = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert [int(run.stdout.readline()) for _ in range(2)] == [16, 16]
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    run.stdout.close()
    kept = len(list((tmp_path / "db").glob("captions-*.arrow")))
    assert kept >= 2
    with pytest.raises(CaptionError, match="is not finished"):
        open_captions(tmp_path / "db", clip)
    report = build_captions(TEXTS, tmp_path / "db", clip)
    assert len(encoded) == report.added == len(TEXTS) - 16 * kept and report.repeated == 16 * kept
    assert contents(tmp_path / "db") == contents(tmp_path / "whole")


def test_a_kill_before_the_index_costs_the_index(tmp_path: Path, clip: Encoder, encoded, monkeypatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(build, "write_index", killed)
        with pytest.raises(KeyboardInterrupt):
            build_captions(TEXTS, tmp_path / "db", clip)
    encoded.clear()
    report = build_captions(TEXTS, tmp_path / "db", clip)
    assert encoded == [] and report.added == 0
    assert len(open_captions(tmp_path / "db", clip)) == len(TEXTS)


BAD = [
    "",
    "   ",
    "\0",
    None,
    "word " * 200_000,
    "x" * 1_000_000,
    "<html><script>alert('x')</script> & amp;</html>",
    "🐱🐶👩‍👩‍👧‍👦",
    "写真 собака कुत्ता عربى",
    "the of and with",
    "a\0dog\x1bwith\x07bells",
    "\ud800 half a pair",
    "line\nbreaks\r\nand\ttabs",
    "http://" + "x" * 5000,
    "<" * 5000,
]


def test_bad_captions_break_neither_build_nor_query(tmp_path: Path, clip: Encoder, photos: list[Path]):
    from vlcls.classifiers.cased import Cased
    from vlcls.classifiers.vocabulary_free import discover

    report = build_captions(BAD, tmp_path / "db", clip)
    assert (report.empty, report.added, report.cut) == (4, 11, 4)
    database = open_captions(tmp_path / "db", clip)
    assert all(0 < len(caption) <= LONGEST_CAPTION for caption in database.captions)
    assert "a dog with bells" in list(database.captions) and "line breaks and tabs" in list(database.captions)
    for naming in discover(photos[:4], Cased(database, clip, cache=False), cache=False):
        assert naming.candidates and naming.error is None


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "parquet"])
def test_bad_captions_in_files(kind: str, tmp_path: Path, clip: Encoder):
    path = tmp_path / f"bad.{kind}"
    texts = [text for text in BAD if text is not None and "\ud800" not in text]
    if kind == "txt":
        path.write_bytes("\n".join(text.replace("\n", " ").replace("\0", "") for text in texts).encode())
    elif kind == "jsonl":
        lines = [json.dumps({"caption": text}) for text in BAD]
        path.write_bytes("\n".join([*lines, "{broken", "[" * 100_000, '{"caption": 1}']).encode())
    elif kind == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["caption"], *([text] for text in texts if "\0" not in text)])
            file.write("a\0b\n")
    else:
        pq.write_table(pa.table({"caption": [*texts, None]}), path)
    report = build_captions(read_captions(path), tmp_path / "db", clip)
    assert report.added >= 10 and report.empty >= (0 if kind == "csv" else 3)
    assert len(open_captions(tmp_path / "db", clip)) == report.added


CAPTIONS = ["a dog on grass", "ein Bär im Schnee", "猫と犬", "red\u2028panda, one \x0b line"]


def written_as(kind: str, captions: list[str]) -> str:
    if kind == "txt":
        return "\r\n".join(captions)
    if kind == "jsonl":
        return "\n".join(json.dumps({"caption": text}, ensure_ascii=False) for text in captions)
    file = io.StringIO()
    delimiter = {"csv": ",", "tsv": "\t", "excel.csv": ";"}[kind]
    csv.writer(file, delimiter=delimiter).writerows([["n", "caption"], *enumerate(captions)])
    return file.getvalue()


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv", "excel.csv"])
def test_captions_in_other_encodings(kind: str, tmp_path: Path):
    path = tmp_path / f"a.{kind}"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        path.write_bytes(written_as(kind, CAPTIONS).encode(encoding))
        assert list(read_captions(path)) == CAPTIONS
    for encoding, text in (
        ("latin-1", "ein Bär"),
        ("cp1252", "“quoted”"),
        ("gbk", "猫と"),
        ("shift-jis", "猫と"),
    ):
        path.write_bytes(written_as(kind, ["a dog", text, "a cat"]).encode(encoding))
        line = 2 if kind in ("txt", "jsonl") else 3
        with pytest.raises(CaptionError, match=rf"a\.{kind}, line {line}: not UTF-8 text; save the file"):
            list(read_captions(path))


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv", "parquet"])
def test_a_pipe_for_captions_is_refused(kind: str, tmp_path: Path):
    os.mkfifo(tmp_path / f"a.{kind}")
    with pytest.raises(CaptionError, match="this is a pipe"):
        list(read_captions(tmp_path / f"a.{kind}"))


def test_cleaning():
    assert clean_caption(" a \0 b\n\tc ") == "a b c"
    assert clean_caption(7) == clean_caption(None) == clean_caption("\0 \n") == ""
    assert len(clean_caption("ab " * 100_000)) <= LONGEST_CAPTION
    assert clean_caption("x\ud800") == "x?"


# ---- refusals ----------------------------------------------------------------------------------------------


def test_another_encoder_is_refused(tmp_path: Path, clip: Encoder, siglip: Encoder):
    build_captions(TEXTS[:5], tmp_path / "db", clip)
    with pytest.raises(
        EncoderMismatchError, match=rf"were embedded with {clip.spec}.*build a database with this"
    ):
        open_captions(tmp_path / "db", siglip)
    with pytest.raises(EncoderMismatchError, match="use that encoder, or another folder"):
        build_captions(["a cat"], tmp_path / "db", siglip)
    with pytest.raises(CaptionError, match="kept as float16, not float32"):
        build_captions(["a cat"], tmp_path / "db", clip, dtype="float32")


def test_folders_that_are_no_database(tmp_path: Path, clip: Encoder):
    (tmp_path / "x.txt").write_text("mine")
    with pytest.raises(CaptionError, match="no caption database: give a new folder"):
        build_captions(["a cat"], tmp_path, clip)
    with pytest.raises(CaptionError, match="holds no caption database"):
        open_captions(tmp_path, clip)
    with pytest.raises(CaptionError, match="not one usable caption"):
        build_captions(["", None], tmp_path / "db", clip)
    (tmp_path / "db").mkdir(exist_ok=True)
    (tmp_path / "db" / "database.json").write_text('{"format": 99}')
    with pytest.raises(CaptionError, match="newer vlcls"):
        open_captions(tmp_path / "db", clip)


def test_damage_is_named(tmp_path: Path, clip: Encoder):
    folder = tmp_path / "db"
    build_captions(TEXTS[:9], folder, clip)
    whole = contents(folder)

    def refused(name: str, data: bytes | None, message: str) -> None:
        (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
        with pytest.raises(CaptionError, match=message):
            open_captions(folder, clip)
        (folder / name).write_bytes(whole[name])

    part = "captions-000000.arrow"
    refused(part, whole[part][:-100], "captions-000000.arrow is damaged")
    refused(part, None, "holds no captions")
    refused("captions.index", whole["captions.index"][:50], "no readable FAISS index")
    refused("captions.index", None, "no readable FAISS index")
    refused("database.json", b"{", "no readable caption database")
    about = json.loads(whole["database.json"])
    about["database"]["captions"] = 8
    refused("database.json", json.dumps(about).encode(), "is damaged: 9 captions, 9 vectors")
    assert len(open_captions(folder, clip)) == 9


# ---- indices -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """3,000 in clusters, as embeddings are."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(60, 32))[generator.integers(0, 60, 3000)] + 0.7 * generator.normal(
        size=(3000, 32)
    )
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def test_the_index_is_chosen_by_size():
    assert choose_factory(99_999, "float16") == "Flat"
    assert choose_factory(200_000, "float16") == "IVF2048,SQfp16"
    assert choose_factory(200_000, "float32") == "IVF2048,Flat"
    assert choose_factory(10_000_000, "float16") == "IVF16384,SQfp16"


@pytest.mark.parametrize("factory", ["Flat", "IVF64,SQfp16", "HNSW16,SQfp16", "SQ4"])
def test_recall_is_measured_and_the_effort_raised(factory: str, vectors: np.ndarray, tmp_path: Path):
    blocks = [vectors[:1000], vectors[1000:1001], vectors[1001:]]
    made, info = build_index(blocks, factory)
    sha256 = index.write_index(made, tmp_path / "x.index")
    read = index.read_index(tmp_path / "x.index", sha256)
    assert list(tmp_path.iterdir()) == [tmp_path / "x.index"]
    rows = vectors.astype(np.float32)
    wanted = np.argsort(-(rows[:200] @ rows.T), axis=1, kind="stable")[:, :10]
    assert (exact_neighbours(blocks, rows[:200], 10) == wanted).all()
    measured = recall(read.search(rows[:200], 10)[1], wanted)  # the effort is in the file
    assert info.recall == pytest.approx(measured, abs=0.05)
    if factory == "Flat":
        assert info.recall == measured == 1 and info.effort is None
    elif factory != "SQ4":
        assert info.recall >= index.TARGET_RECALL and info.effort is not None
    if factory == "IVF64,SQfp16":
        assert 1 < info.effort <= 64
        faiss.ParameterSpace().set_index_parameter(read, "nprobe", 1)
        assert recall(read.search(rows[:200], 10)[1], wanted) < measured


def test_recall_counts_what_is_found():
    assert recall(np.array([[1, 2, 3], [4, 5, 6]]), np.array([[3, 2, 9], [7, 8, 6]])) == 0.5


def test_rows_of_several_arrays():
    blocks = [np.zeros((3, 2), np.float16), np.ones((0, 2), np.float16), np.ones((1, 2), np.float16)]
    assert take_rows(blocks, np.array([3, 0, 3, 2]))[:, 0].tolist() == [1, 0, 1, 0]


def test_impossible_indices_are_refused(vectors: np.ndarray):
    for factory in ("NoSuchIndex", "IVF4096,Flat"):
        with pytest.raises(CaptionError, match=f"no index '{factory}' of 100 captions"):
            build_index([vectors[:100]], factory)


def test_vectors_stay_on_disk(tmp_path: Path):
    """A process opens and searches an index of 64 MB with a fraction of that in private memory."""
    rows = np.random.default_rng(0).normal(size=(64_000, 256)).astype(np.float32)
    for factory in ("Flat", "IVF64,SQfp16"):
        made = faiss.index_factory(256, factory, faiss.METRIC_INNER_PRODUCT)
        made.train(rows[:4000])
        made.add(rows)
        sha256 = index.write_index(made, tmp_path / "x.index")
        code = (
            "import sys, numpy as np\nfrom pathlib import Path\n"
            "from vlcls.retrieval.index import faiss, read_index\nfaiss()\n"
            "def private():\n"
            "    lines = Path('/proc/self/status').read_text().splitlines()\n"
            "    return next(int(line.split()[1]) << 10 for line in lines if line.startswith('RssAnon'))\n"
            "before = private()\nindex = read_index(Path(sys.argv[1]), sys.argv[2])\n"
            "index.search(np.ones((4, 256), np.float32), 10)\nprint(private() - before)"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "x.index"), sha256],
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(run.stdout) < (tmp_path / "x.index").stat().st_size / 4


# ---- the built-in database, clip-retrieval -----------------------------------------------------------------


def test_the_built_in_database_is_kept_in_the_store(tmp_path: Path, clip: Encoder, encoded, monkeypatch):
    from vlcls import wordnet
    from vlcls.retrieval import builtin

    texts = wordnet_texts()
    assert 21_000 < len(texts) <= 21_844 and len(set(texts)) == len(texts)
    assert "tiger, Panthera tigris: large feline of forests in most of Asia" in " ".join(texts)
    assert len(wordnet_words()) == len(set(wordnet_words())) > 25_000

    few = dict(list(wordnet.lemmas().items())[:50])
    monkeypatch.setattr(wordnet, "lemmas", lambda: few)
    monkeypatch.setattr(builtin, "_AT_ONCE", 20)
    store, done = EmbeddingStore(tmp_path), []
    first = open_captions("wordnet", clip, store=store, progress=done.append)
    assert len(encoded) == sum(done) == len(first) == 50
    again = open_captions("wordnet", clip, store=store)
    done.clear()
    open_captions("wordnet", clip, store=store, progress=done.append)
    assert (
        sum(done) == len(encoded) == 50
        and (again.search(first.blocks[0][:3], 2).rows[:, 0] == [0, 1, 2]).all()
    )
    assert encoder_of("wordnet") is None
    assert np.allclose(
        open_captions("wordnet", clip).blocks[0], first.blocks[0], atol=1e-5
    )  # without a store


@pytest.fixture
def clip_retrieval(tmp_path: Path, clip: Encoder) -> Path:
    """A folder as clip-retrieval leaves it."""
    folder = tmp_path / "indices"
    rows = clip.encode_texts(TEXTS).numpy()
    made = faiss.index_factory(48, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    made.train(rows)
    made.add(rows)
    faiss.extract_index_ivf(made).nprobe = 4
    (folder / "metadata").mkdir(parents=True)
    (folder / "text_emb").mkdir()
    faiss.write_index(made, str(folder / "text.index"))
    for number, part in enumerate((slice(0, 30), slice(30, None))):
        table = pa.table({"image_path": TEXTS[part], "caption": TEXTS[part]})
        pq.write_table(table, folder / "metadata" / f"metadata_{number}.parquet")
        np.save(folder / "text_emb" / f"text_emb_{number}.npy", rows[part].astype(np.float16))
    return folder


def test_clip_retrieval_indices_open_as_they_are(clip_retrieval: Path, clip: Encoder, photos: list[Path]):
    from vlcls.classifiers.cased import Cased
    from vlcls.classifiers.vocabulary_free import discover

    before = {path: path.read_bytes() for path in clip_retrieval.rglob("*") if path.is_file()}
    database = open_captions(clip_retrieval, clip)
    assert list(database.captions) == TEXTS
    wanted = clip.encode_texts(TEXTS).numpy()
    assert (database.search(wanted, 1).rows[:, 0] == np.arange(len(TEXTS))).all()
    assert np.allclose(database.embeddings(np.array([29, 30])), wanted[[29, 30]], atol=1e-3)
    found = list(discover(photos[:5], Cased(database, clip, cache=False), cache=False))
    for path in (
        clip_retrieval / "text_emb"
    ).iterdir():  # without them, captions are encoded when they are found
        path.unlink()
    with pytest.raises(CaptionError, match="--trust-index"):
        open_captions(clip_retrieval, clip)
    bare = open_captions(clip_retrieval, clip, trust_index=True)
    assert bare.embeddings(np.array([1])) is None
    again = list(discover(photos[:5], Cased(bare, clip, cache=False), cache=False))
    assert [naming.label for naming in again] == [naming.label for naming in found]
    assert all(path.read_bytes() == data for path, data in before.items() if path.exists())


def test_clip_retrieval_indices_of_another_model_are_refused(
    clip_retrieval: Path, siglip: Encoder, tmp_path: Path
):
    with pytest.raises(EncoderMismatchError, match=r"an unknown encoder|made with another model"):
        open_captions(clip_retrieval, siglip)
    from models import save_open_clip

    from vlcls import load_encoder

    other = load_encoder(f"open_clip:local-dir:{save_open_clip(tmp_path / 'other', seed=5)}", "cpu", "fp32")
    with pytest.raises(EncoderMismatchError, match="made with another model"):
        open_captions(clip_retrieval, other)
    (clip_retrieval / "metadata" / "metadata_1.parquet").unlink()
    with pytest.raises(CaptionError, match=r"63 vectors in text\.index, but 30 captions"):
        open_captions(clip_retrieval, other, trust_index=True)
    with pytest.raises(CaptionError, match=r"63 vectors in text_emb/\*\.npy, but 30 captions"):
        open_captions(clip_retrieval, other)


# ---- two processes -----------------------------------------------------------------------------------------


def test_two_processes_build_and_name_as_one_does(
    tmp_path: Path, clip: Encoder, photos: list[Path], small_parts
):
    from vlcls.classifiers.cased import Cased
    from vlcls.classifiers.vocabulary_free import discover

    captions = [*TEXTS, TEXTS[0], "", *TEXTS[:5]]
    images = [str(path) for path in photos[:10]]
    job = {
        "spec": clip.spec, "captions": captions, "images": images, "part_rows": 16,
        "database": str(tmp_path / "two"), "output": str(tmp_path),
    }  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", "0", str(TESTS / "launched_captions.py"), str(tmp_path / "job.json")]
    path = os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "ACCELERATE_USE_CPU": "true"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-4000:]
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]

    report = build_captions(captions, tmp_path / "one", clip)
    for rank in ranks:
        assert (rank["added"], rank["repeated"], rank["total"]) == (
            report.added,
            report.repeated,
            report.total,
        )
    assert [rank["index"] for rank in ranks] == ["Flat", None]
    assert contents(tmp_path / "one").keys() == contents(tmp_path / "two").keys()
    one, two = (open_captions(tmp_path / name, clip) for name in ("one", "two"))
    assert list(one.captions) == list(two.captions) and one.info == two.info
    every = np.arange(len(one))
    # Batches of another size round differently: by one step of float16 at most.
    assert np.abs(one.embeddings(every) - two.embeddings(every)).max() <= 2**-10
    wanted = list(discover(images, Cased(two, clip, cache=False), cache=False))
    for rank in ranks:
        assert [image for image, _ in rank["names"]] == images
        assert np.allclose(rank["rows"], clip.encode_texts(captions[:25]).numpy(), atol=1e-5)
        for (_, names), naming in zip(rank["names"], wanted, strict=True):
            assert dict(names) == pytest.approx({p.label: p.score for p in naming.candidates}, abs=1e-5)
