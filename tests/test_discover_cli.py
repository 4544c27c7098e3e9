"""`vlcls captions` and `vlcls discover` as a user meets them."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from vlcls.cli import main
from vlcls.retrieval.builtin import wordnet_texts

TEXTS = wordnet_texts()[::350]


@pytest.fixture
def run(capsys, monkeypatch):
    """Run `vlcls ARGS` in this process: exit code, standard output, standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["vlcls", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return stop.value.code or 0, output.out, output.err

    return call


@pytest.fixture
def images(tmp_path, picture) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(5):
        picture(number).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def database(tmp_path, run, model_spec) -> Path:
    source = tmp_path / "captions.jsonl"
    source.write_text("".join(json.dumps({"caption": text}) + "\n" for text in [*TEXTS, TEXTS[0], ""]))
    code, out, err = run(
        "captions", "build", source, "-o", tmp_path / "db", "-e", model_spec("open_clip-clip")
    )
    assert (code, out) == (0, "")
    assert "db: 63 captions, 63 of them new; 1 repeated and 1 empty ones left out, 0 cut short" in err
    assert "index Flat, exact" in err
    return tmp_path / "db"


def test_help_has_examples(run):
    for command in (["discover"], ["captions", "build"], ["captions", "search"]):
        code, out, _ = run(*command, "--help")
        assert code == 0 and "Examples" in out


def test_info_and_search(run, database, images, model_spec):
    code, out, _ = run("captions", "info", database)
    assert code == 0 and "63 captions" in out and "float16 of 48 dimensions" in out and TEXTS[0] in out
    assert model_spec("open_clip-clip") in out
    assert "names and glosses of WordNet" in run("captions", "info", "wordnet")[1]
    # The encoder is the database's own unless another is named.
    code, out, _ = run("captions", "search", database, TEXTS[5], "-k", 2, "-f", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(rows) == 2
    assert rows[0]["caption"] == TEXTS[5] and rows[0]["row"] == 5
    assert rows[0]["similarity"] == pytest.approx(1, abs=1e-3)
    code, out, _ = run("captions", "search", database, "--image", images / "0.png", "-k", 3)
    assert code == 0 and len(out.splitlines()) == 3 and out.splitlines()[0].split("  ")[1] in TEXTS
    assert run("captions", "search", database)[0] == 2
    (images / "bad.png").write_text("no image")
    code, _, err = run("captions", "search", database, "--image", images / "bad.png")
    assert code == 1 and "bad.png" in err
    code, _, err = run("captions", "info", images)
    assert code == 1 and "no readable caption database" in err and "Traceback" not in err


def test_discover_in_every_format(run, database, images):
    (images / "zz.png").write_text("no image")
    code, out, err = run("discover", images, "-c", database, "-f", "jsonl", "-k", 2)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 3 and "1 images could not be read; all others were named" in err
    assert [Path(row["image"]).name for row in rows] == [
        "0.png",
        "1.png",
        "2.png",
        "3.png",
        "4.png",
        "zz.png",
    ]
    for row in rows[:5]:
        assert row["label"] == row["top_k"][0]["label"] in row["candidates"] and len(row["top_k"]) == 2
        assert row["score"] == row["top_k"][0]["score"] >= row["top_k"][1]["score"]
        assert 0 < len(row["captions"]) <= 10 and row["captions"][0]["caption"] in TEXTS
        assert row["error"] is None and row["fallback"] is False
    assert rows[5]["label"] is None and "zz.png" in rows[5]["error"]

    code, out, _ = run("discover", images, "-c", database, "-f", "csv", "-k", 2)
    table = list(csv.DictReader(io.StringIO(out)))
    assert code == 3
    assert [line["label"] for line in table] == [row["label"] or "" for row in rows]
    assert [line["label_2"] for line in table[:5]] == [row["top_k"][1]["label"] for row in rows[:5]]
    assert table[0]["candidates"].split() == rows[0]["candidates"]

    code, out, _ = run("discover", images, "-c", database)
    assert code == 3 and "closest caption" in out and "not read" in out
    for row in rows[:5]:
        assert f"{row['label']} " in out


def test_summary_and_labels_for_classify(run, database, images, tmp_path, model_spec):
    _, out, _ = run("discover", images, "-c", database, "-f", "jsonl")
    labels = [json.loads(line)["label"] for line in out.splitlines()]
    names = tmp_path / "names.txt"
    code, out, err = run(
        "discover", images, "-c", database, "--summary", "--save-labels", names, "-f", "jsonl"
    )
    counts = {row["label"]: row["images"] for row in map(json.loads, out.splitlines())}
    assert code == 0 and counts == {name: labels.count(name) for name in set(labels)}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert names.read_text().splitlines() == list(counts) and f"{len(counts)} names" in err
    code, out, _ = run(
        "classify", images, "--labels-file", names, "-e", model_spec("open_clip-clip"), "-f", "csv"
    )
    assert code == 0 and len(out.splitlines()) == 6
    assert (
        run("discover", images, "-c", database, "--summary", "--at-least", 6, "-f", "csv")[1]
        == "label,images\n"
    )
    assert "images" in run("discover", images, "-c", database, "--summary")[1]


def test_only_block_hint_and_alpha(run, database, images, tmp_path):
    def labels(*options):
        code, out, err = run("discover", images, "-c", database, "-f", "jsonl", *options)
        assert code == 0
        return [json.loads(line) for line in out.splitlines()], err

    plain, _ = labels()
    first = plain[0]["label"]
    blocked, _ = labels("--block", first)
    assert all(first not in row["candidates"] for row in blocked)
    words = tmp_path / "words.txt"
    words.write_text(f"{first}\n")
    only, err = labels("--only", words)
    assert only[0]["label"] == first
    missing = sum(row["fallback"] for row in only)
    assert all(row["label"] == ("object" if row["fallback"] else first) for row in only)
    assert (f"{missing} images have no name" in err) == bool(missing)
    assert labels("--hint", "animal")[0] != plain and labels("--alpha", 0)[0] != plain
    assert run("discover", images, "-c", database, "--alpha", 2)[0] == 2
    code, _, err = run("discover", images, "-c", database, "--tagger", "nltk")
    assert code == 1 and "no tagger 'nltk'" in err


def test_nouns_alone_unless_all_words_are_asked_for(run, database, images):
    from vlcls.classifiers.candidates import candidate_names

    def rows(*options):
        code, out, _ = run("discover", images, "-c", database, "-f", "jsonl", *options)
        assert code == 0
        return [json.loads(line) for line in out.splitlines()]

    nouns, words = rows(), rows("--all-words")
    assert nouns == rows("--nouns") != words
    for some, found in ((True, nouns), (False, words)):
        for row in found:
            own = candidate_names([caption["caption"] for caption in row["captions"]], nouns=some)
            assert sorted(row["candidates"]) == (own or ["object"])


def test_a_name_that_takes_too_much_is_warned_of(run, database, images, monkeypatch):
    from vlcls.classifiers import wide_names

    assert "warning" not in run("discover", images, "-c", database)[2]
    for name, value in (("LEAST_IMAGES", 1), ("LEAST_SHARE", 0), ("LEAST_KINDS", -1), ("_NEARLY_ALL", 0)):
        monkeypatch.setattr(wide_names, name, value)
    for options in ((), ("--summary",), ("--method", "caption")):
        code, out, err = run("discover", images, "-c", database, *options)
        assert code == 0 and "warning: “" in err and " of 5 images" in err and "warning" not in out


def test_the_closest_caption(run, database, images):
    code, out, _ = run("discover", images, "-c", database, "--method", "caption", "-f", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert all(row["label"] == row["captions"][0]["caption"] in TEXTS for row in rows)


def test_another_encoder_is_refused(run, database, images, model_spec):
    code, _, err = run("discover", images, "-c", database, "-e", model_spec("open_clip-siglip"))
    assert code == 1 and "were embedded with" in err and "Traceback" not in err
    code, _, err = run("discover", images, "-c", images, "-e", model_spec("open_clip-clip"))
    assert code == 1 and "holds no caption database" in err


def test_the_built_in_database_and_its_names(run, images, model_spec, monkeypatch):
    from vlcls import wordnet

    few = dict(list(wordnet.lemmas().items())[::300])
    monkeypatch.setattr(wordnet, "lemmas", lambda: few)
    spec = model_spec("open_clip-clip")
    code, out, _ = run("discover", images, "-e", spec, "-f", "jsonl")
    captions = [json.loads(line)["captions"][0]["caption"] for line in out.splitlines()]
    assert code == 0 and set(captions) <= set(wordnet_texts())
    code, out, _ = run("discover", images, "-e", spec, "--method", "wordnet", "-f", "jsonl", "-k", 3)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and all(len(row["top_k"]) == 3 for row in rows)
    assert {row["label"] for row in rows} <= {name for names in few.values() for name in names}
