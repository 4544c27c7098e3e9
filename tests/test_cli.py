"""The command line as a user meets it: output, exit codes, messages."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vlcls
from vlcls import __version__
from vlcls.cli import main


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
def photos(tmp_path, picture):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        picture(number).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def spec(model_spec):
    return model_spec("open_clip-clip")


def test_help_teaches_and_version(run):
    for command in ("classify", "build", "doctor", "cache", "templates"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert "Examples" in out or command == "cache"
    assert run("--version") == (0, f"vlcls {__version__}\n", "")


def test_help_is_quick_because_it_imports_nothing_heavy():
    code = "import sys, vlcls.cli; print({'torch', 'numpy', 'transformers', 'PIL'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_published_templates_are_used_letter_for_letter_unless_asked_otherwise(run, spec, tmp_path):
    for templates, option, wanted in (
        ("pets", (), "a photo of a owl, a type of pet."),
        ("pets", ("--no-articles",), "a photo of a owl, a type of pet."),
        ("pets", ("--articles",), "a photo of an owl, a type of pet."),
        ("a sketch of a {}.", (), "a sketch of an owl."),
        ("a sketch of a {}.", ("--no-articles",), "a sketch of a owl."),
    ):
        made = ("build", "-o", tmp_path, "-l", "owl,cat", "-t", templates, "-e", spec, "--no-cache", *option)
        assert run(*made)[0] == 0
        assert vlcls.load(tmp_path).prompts.texts[0] == wanted


def test_jsonl_has_one_documented_object_an_image(run, photos, spec):
    code, out, err = run("classify", photos, "-l", "cat,dog,owl", "-e", spec, "-f", "jsonl", "-k", "2")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [row["image"] for row in rows] == [str(photos / f"{n}.png") for n in range(3)]
    for row in rows:
        assert list(row) == ["image", "label", "id", "index", "score", "top_k", "error"]
        assert row["error"] is None
        assert [list(best) for best in row["top_k"]] == [["label", "id", "index", "score"]] * 2
        assert (row["label"], row["score"]) == (row["top_k"][0]["label"], row["top_k"][0]["score"])


def test_csv_and_table_say_the_same(run, photos, spec, tmp_path):
    _, out, _ = run("classify", photos, "-l", "cat,dog", "-e", spec, "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["image", "label", "id", "index", "score", "error", "label_2", "id_2", "score_2"]
    assert float(rows[0]["score"]) + float(rows[0]["score_2"]) == pytest.approx(1, abs=1e-5)
    code, table, _ = run("classify", photos, "-l", "cat,dog", "-e", spec, "-o", tmp_path / "t.txt")
    assert (code, table) == (0, "")
    lines = (tmp_path / "t.txt").read_text().splitlines()
    assert [line.split()[1] for line in lines[1:]] == [row["label"] for row in rows]


def test_unreadable_images_are_listed_and_exit_with_3(run, photos, spec):
    (photos / "bad.png").write_text("not an image")
    code, out, err = run("classify", photos, photos / "gone.jpg", "-l", "cat,dog", "-e", spec, "-f", "jsonl")
    rows = {Path(row["image"]).name: row for row in map(json.loads, out.splitlines())}
    assert code == 3
    assert len(rows) == 5
    assert rows["bad.png"]["label"] is None and "bad.png" in rows["bad.png"]["error"]
    assert rows["2.png"]["label"] in ("cat", "dog")
    assert "bad.png" in err and "gone.jpg" in err and "2 images could not be read" in err


def test_saved_classifier_gives_the_same(run, photos, spec, tmp_path):
    assert run("build", "-l", "cat,dog", "-t", "simple", "-e", spec, "-o", tmp_path / "saved")[0] == 0
    built = run("classify", photos, "-l", "cat,dog", "-t", "simple", "-e", spec, "-f", "jsonl")
    assert run("classify", photos, "--classifier", tmp_path / "saved", "-f", "jsonl") == built


def test_standard_input_of_paths(photos, spec):
    command = [sys.executable, "-m", "vlcls", "classify", "-", "-l", "cat,dog", "-e", spec, "-f", "jsonl"]
    names = b"\0".join(str(photos / f"{n}.png").encode() for n in (2, 0)) + b"\0"
    out = subprocess.run(command, input=names, capture_output=True, check=True).stdout
    assert [Path(json.loads(line)["image"]).name for line in out.splitlines()] == ["2.png", "0.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["classify", "x.jpg"], 2, "--labels"),
        (["classify", "x.jpg", "-l", str(Path(__file__))], 2, "--labels-file"),
        (["classify", "x.jpg", "-l", "a", "--labels-file", "b"], 2, "not both"),
        (["classify", "-l", "a,b"], 2, "give images"),
        (["classify", "x.jpg", "-l", "cat,cat"], 1, "error: label 'cat' is there twice"),
        (["classify", "x.jpg", "-l", "cat", "-e", "nope"], 1, "error: unknown encoder 'nope'"),
        (["classify", "x.jpg", "-l", "cat", "-t", "nope"], 1, "error: no template set"),
        (["classify", "no/*.jpg", "-l", "cat"], 1, "no/*.jpg"),
        (["classify", "x.jpg", "--classifier", "nowhere/at/all"], 1, "no folder nowhere"),
        (["classify", "--embeddings", "x.npy", "-l", "a"], 2, "go together"),
        (["classify", "--embeddings", "x.npy", "--text-embeddings", "y.npy", "-l", "a"], 1, "x.npy: no such"),
        (["templates", "nope"], 1, "built in are"),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_line(run, arguments, code, message, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    found, out, err = run(*arguments)
    assert found == code
    assert message in err
    assert "Traceback" not in err and out == ""


def test_debug_shows_the_traceback(spec):
    command = [sys.executable, "-m", "vlcls", "--debug", "classify", "x.jpg", "-l", "cat,cat", "-e", spec]
    assert "Traceback" in subprocess.run(command, capture_output=True, text=True).stderr


def test_output_file_is_whole_or_absent(run, photos, spec, tmp_path, monkeypatch):
    target = tmp_path / "out.jsonl"
    target.write_text("before")
    monkeypatch.setattr("vlcls.cli.output.to_json", lambda *_, **__: 1 / 0)
    assert run("classify", photos, "-l", "cat,dog", "-e", spec, "-f", "jsonl", "-o", target)[0] == 1
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


def test_embeddings_in_place_of_images(run, tmp_path):
    np.save(tmp_path / "i.npy", np.eye(3, dtype=np.float32))
    np.savez(tmp_path / "t.npz", np.eye(3, dtype=np.float16)[[2, 1, 0]])
    code, out, _ = run(
        "classify", "--embeddings", tmp_path / "i.npy", "--text-embeddings", tmp_path / "t.npz",
        "-l", "c,b,a", "-f", "jsonl", "-k", "1",
    )  # fmt: skip
    assert code == 0
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["a", "b", "c"]


def test_encoders_and_templates_lists(run):
    code, out, _ = run("encoders")
    assert code == 0
    assert all(family in out for family in ("open_clip", "hf:", "conse"))
    assert "openai-imagenet   80" in run("templates")[1]
    assert run("templates", "photo")[1] == "a photo of a {}.\n"


def test_missing_extra_is_named(run, monkeypatch):
    monkeypatch.setattr("vlcls.encoders.families.find_spec", lambda _: None)
    code, out, _ = run("encoders")
    assert 'pip install "vlcls[offline]"' in out
    code, _, err = run("classify", "x.jpg", "-l", "cat", "-e", "conse")
    assert code == 1 and 'pip install "vlcls[offline]"' in err


def test_cache_commands(run, photos, spec, monkeypatch, tmp_path):
    monkeypatch.setenv("VLCLS_CACHE", str(tmp_path / "cache"))
    run("classify", photos, "-l", "cat,dog", "-e", spec)
    _, out, _ = run("cache", "info")
    assert "images" in out and "texts" in out and str(tmp_path / "cache") in out
    assert run("cache", "verify")[:2] == (0, "all files are whole\n")
    shard = next((tmp_path / "cache").rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    code, out, _ = run("cache", "verify")
    assert code == 1 and shard.name in out and not shard.exists()
    assert run("cache", "clear", "--yes")[0] == 0
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert run("classify", photos, "-l", "cat,dog", "-e", spec, "--no-cache")[0] == 0
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_two_launched_processes_write_the_results_of_one_once(run, photos, spec, tmp_path):
    (photos / "bad.png").write_text("not an image")
    arguments = [
        "classify",
        photos,
        "-l",
        "cat,dog",
        "-e",
        spec,
        "-f",
        "jsonl",
        "--precision",
        "fp32",
        "--no-cache",
    ]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--main_process_port", "0", "-m", "vlcls", *map(str, arguments), "-o", str(tmp_path / "two")]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, capture_output=True)
    alone = [json.loads(line) for line in run(*arguments)[1].splitlines()]
    together = [json.loads(line) for line in (tmp_path / "two").read_text().splitlines()]
    assert len(together) == 4
    for one, two in zip(alone, together, strict=True):
        assert [best["label"] for best in one.pop("top_k")] == [best["label"] for best in two.pop("top_k")]
        assert one.pop("score") == pytest.approx(two.pop("score"), abs=1e-5)
        assert one == two


def test_interrupted_and_cut_off(run, photos, spec, monkeypatch):
    for error, expected in ((KeyboardInterrupt, 130), (BrokenPipeError, 141)):
        with monkeypatch.context() as patch:
            patch.setattr(
                "vlcls.cli.commands.classify.write_jsonl",
                lambda *_, error=error: (_ for _ in ()).throw(error),
            )
            patch.setattr("os.dup2", lambda *_: None)
            code, _, err = run("classify", photos, "-l", "cat,dog", "-e", spec, "-f", "jsonl")
        assert code == expected
        assert ("goes on from there" in err) == (expected == 130)


def test_output_to_a_device_or_through_a_link(run, photos, spec, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real.csv")
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True)
    for target in ("link", "pipe"):
        assert run("classify", photos, "-l", "a,b", "-e", spec, "-f", "csv", "-o", tmp_path / target)[0] == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "pipe").is_fifo()
    assert reader.communicate()[0] == (tmp_path / "real.csv").read_text() != ""


def test_piped_json_is_utf_8_whatever_the_locale(photos, spec):
    command = [sys.executable, "-m", "vlcls", "classify", photos, "-l", "café,dog", "-e", spec, "-f", "jsonl"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    out = subprocess.run(command, capture_output=True, env=environment, check=True).stdout
    assert {best["label"] for best in json.loads(out.splitlines()[0])["top_k"]} == {"café", "dog"}


def test_a_saved_classifier_is_not_mixed_with_other_choices(run, photos, spec, tmp_path, monkeypatch):
    run("build", "-l", "cat,dog", "-e", spec, "-o", tmp_path / "saved")
    code, _, err = run("classify", photos, "--classifier", tmp_path / "saved", "-l", "owl")
    assert code == 2 and "its own labels" in err
    monkeypatch.setenv("VLCLS_ENCODER", "conse")  # a default for new classifiers, not for saved ones
    assert run("classify", photos, "--classifier", tmp_path / "saved")[0] == 0


def test_weightings(run, photos, spec, tmp_path):
    common = ("-l", "cat,dog,owl", "-e", spec, "-t", "simple")
    plain, auto, zpe, other = (
        [
            json.loads(line)["score"]
            for line in run("classify", photos, *common, "-f", "jsonl", *more)[1].splitlines()
        ]
        for more in (
            (),
            ("--weighting", "autoclip"),
            ("--weighting", "zpe"),
            ("--weighting", "zpe:temperature=9"),
        )
    )
    assert len({tuple(each) for each in (plain, auto, zpe, other)}) == 4
    saved = tmp_path / "saved"
    code, _, err = run("build", "-o", saved, *common, "--weighting", "zpe", "--unlabelled", photos)
    assert code == 0 and "3 classes, 21 prompts" in err
    out = run("classify", photos, "--classifier", saved, "-e", spec, "-f", "jsonl")[1]
    assert [json.loads(line)["score"] for line in out.splitlines()] == pytest.approx(zpe, abs=1e-5)
    out = run("explain", photos / "0.png", *common, "--weighting", "autoclip")[1]
    assert "templates that this image asked for" in out and "times its equal share" in out


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--weighting", "zpe"), 2, "--unlabelled FOLDER"),
        (("--unlabelled", "x"), 2, "goes with --weighting zpe"),
        (("--weighting", "zpe:beta=1", "--unlabelled", "x"), 2, "no option 'beta'"),
        (("--weighting", "autoclip:beta=2"), 1, "0 to 1"),
        (("--weighting", "autoclip", "-d", "pacs"), 1, "autoclip-within-class"),
    ],
)
def test_weightings_that_cannot_be(run, spec, tmp_path, more, code, message):
    classes = () if "-d" in more else ("-l", "cat,dog", "-t", "simple")
    found, _, err = run("build", "-o", tmp_path / "x", *classes, "-e", spec, *more)
    assert found == code and message in " ".join(err.split())
