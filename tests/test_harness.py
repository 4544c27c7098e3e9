"""The harness: every image encoded once, cells that outlive a crash, processes that agree."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet

import vlcls
from vlcls.encoders import Encoder
from vlcls.errors import EvaluationError, LabelError, VlclsError
from vlcls.evaluation.data import open_set
from vlcls.evaluation.report.run_files import read_results
from vlcls.evaluation.run import harness
from vlcls.prompts.learned import with_new_classes

TESTS = Path(__file__).parent
CLASSES = ("cat", "dog", "fox")
DOMAINS = ("photo", "sketch")
METHODS = "photo,ensemble:templates=simple,autoclip:templates=simple,waffle:seeds=2"
#: Figures that depend on when and where a run was made.
TIMES = ("date", "seconds")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Any]) -> Path:
    """DOMAIN/CLASS/image.png: two domains of three classes of four images, one of them broken."""
    root = tmp_path_factory.mktemp("data")
    for number in range(24):
        folder = root / DOMAINS[number % 2] / CLASSES[number // 2 % 3]
        folder.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / f"{number:02}.png")
    (root / "sketch/fox/bad.png").write_text("no image")
    return root


@pytest.fixture
def counted(clip: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of the encoder took."""
    calls: list[int] = []
    encode = type(clip).encode_images

    def counting(self: Encoder, pixels: torch.Tensor) -> torch.Tensor:
        calls.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(type(clip), "encode_images", counting)
    return calls


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a run of these tests writes, the reader's schema takes."""
    write_files = harness.write_files

    def checking(folder: Path, contents: dict[str, bytes]) -> None:
        write_files(folder, contents)
        assert read_results(folder) == json.loads(contents["results.json"])

    monkeypatch.setattr(harness, "write_files", checking)


def without_times(results: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in results.items() if key not in TIMES}


def evaluated(data: Path, clip: Encoder, output: Path, **options: Any) -> dict[str, Any]:
    sets = [open_set(data / name, name=name) for name in DOMAINS]
    options = {"methods": METHODS, "in_distribution": "photo", "cache": output.parent / "cache", **options}
    return vlcls.evaluate(sets, encoder=clip, output=output, **options)


def test_every_image_is_encoded_once_and_never_again(
    data: Path, clip: Encoder, counted: list[int], tmp_path: Path
):
    first = evaluated(data, clip, tmp_path / "run")
    assert sum(counted) == 24 and len(first["cells"]) == 2 * 5  # with one control
    again = evaluated(data, clip, tmp_path / "other")
    assert sum(counted) == 24 and without_times(again) == without_times(first)
    assert first["sets"]["sketch"]["unreadable"][0]["image"].endswith("bad.png")
    assert first["sets"]["sketch"]["images"] == 12
    for name in ("results.json", "report.html", "report.md", "clip_benchmark.csv", "summary.csv"):
        assert (tmp_path / "run" / name).stat().st_size
    assert json.loads((tmp_path / "run/results.json").read_text()) == first
    unreadable = json.loads((tmp_path / "run/unreadable.jsonl").read_text())
    assert unreadable["set"] == "sketch" and unreadable["image"] == "fox/bad.png"
    # Which classes are taken for which: what `vlcls describe --contrast` asks about.
    from vlcls.labels import as_labels
    from vlcls.llm.contrast import read_siblings

    confusions = list(csv.DictReader((tmp_path / "run/confusions.csv").open()))
    for cell in first["cells"]:
        if not first["methods"][cell["method"]]["control"]:
            own = [float(row["count"]) for row in confusions if row["set"] == cell["set"]
                   and row["method"] == cell["method"]]  # fmt: skip
            top1 = np.mean([each["top1"] for each in cell["per_seed"]])  # counts are means over seeds too
            assert sum(own) == pytest.approx(12 * (1 - top1), abs=0.01)
    siblings = read_siblings(str(tmp_path / "run/confusions.csv"), as_labels(list(CLASSES)))
    assert siblings and set(siblings) <= {0, 1, 2}


def test_cells_say_what_the_classifiers_say(data: Path, clip: Encoder, tmp_path: Path):
    results = evaluated(data, clip, tmp_path / "run")
    classifier = vlcls.build_classifier(list(CLASSES), clip, "simple")
    found = classifier.predict(sorted((data / "photo").rglob("*.png")))
    wanted = {Path(each.image).relative_to(data / "photo").as_posix(): each for each in found}
    cell = next(
        cell for cell in results["cells"]
        if (cell["set"], cell["method"]) == ("photo", "ensemble:templates=simple")
    )  # fmt: skip
    table = parquet.read_table(tmp_path / "run" / cell["predictions"]).to_pylist()
    assert len(table) == 12
    right = 0
    for row in table:
        found = wanted[row["image"]]
        assert found.top_k[0].index == row["predicted"]
        assert found.score == pytest.approx(row["confidence"], abs=1e-5)
        assert CLASSES[row["true"]] == row["image"].partition("/")[0]
        right += row["true"] == row["predicted"]
    assert cell["metrics"]["top1"]["value"] == pytest.approx(right / 12)
    waffle = next(cell for cell in results["cells"] if cell["method"].startswith("waffle"))
    assert waffle["seeds"] == [0, 1]
    assert waffle["metrics"]["top1"]["value"] == pytest.approx(
        np.mean([each["top1"] for each in waffle["per_seed"]])
    )


def test_shifts_gains_and_groups(data: Path, clip: Encoder, tmp_path: Path):
    results = evaluated(data, clip, tmp_path / "run")
    assert {(row["from"], row["to"], row["classes"]) for row in results["shifts"]} == {("photo", "sketch", 3)}
    row = results["shifts"][0]
    assert row["drop"]["absolute"] == pytest.approx(row["before"]["value"] - row["after"]["value"])
    judged = {(gain["set"], gain["method"]) for gain in results["gains"]}
    assert judged == {(s, m) for s in DOMAINS for m in METHODS.split(",")[1:]}
    whole = vlcls.evaluate(data, "photo", clip, tmp_path / "whole", cache=False)
    groups = whole["cells"][0]["groups"]
    assert {group["name"] for group in groups["group"]["groups"]} == set(DOMAINS)
    assert len(groups["class / group"]["groups"]) == 6


def test_a_shift_over_fewer_classes_restricts_names_and_images(
    data: Path, clip: Encoder, tmp_path: Path, picture: Callable[..., Any]
):
    for number, name in enumerate(("cat", "fox", "owl")):
        (tmp_path / "other" / name).mkdir(parents=True)
        picture(100 + number).save(tmp_path / "other" / name / "1.png")
    sets = [open_set(data / "photo", name="photo"), open_set(tmp_path / "other", name="other")]
    results = vlcls.evaluate(
        sets, "photo", clip, tmp_path / "run", in_distribution="photo", controls=False, cache=False
    )
    assert results["sets"]["photo (2 classes of other)"]["classes"] == ["cat", "fox"]
    assert results["sets"]["photo (2 classes of other)"]["images"] == 8
    assert results["sets"]["other (2 classes of photo)"]["images"] == 2
    assert results["shifts"][0]["classes"] == 2


def test_a_method_that_cannot_be_run_costs_the_others_nothing(data: Path, clip: Encoder, tmp_path: Path):
    results = vlcls.evaluate(
        data / "photo", "photo,descriptors", clip, tmp_path / "run", controls=False, cache=False
    )
    assert [cell["method"] for cell in results["cells"]] == ["photo"]
    assert results["failed"][0]["method"] == "descriptors"
    assert "vlcls describe" in results["failed"][0]["error"]
    with pytest.raises(EvaluationError, match="no method could be evaluated: there are no descriptors"):
        vlcls.evaluate(data / "photo", "descriptors", clip, tmp_path / "x", controls=False, cache=False)


def test_exit_codes_say_what_was_not_run(
    data: Path, model_spec: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from typer.testing import CliRunner

    from vlcls.cli import app

    monkeypatch.setenv("VLCLS_CACHE", str(tmp_path / "cache"))

    def code(methods: str, *options: str) -> int:
        typed = ["evaluate", str(data / "photo"), "-m", methods, "-e", model_spec("open_clip-clip")]
        found = CliRunner().invoke(app, [*typed, "-o", str(tmp_path / "run"), *options])
        # `main` makes 1 of an error.
        return 1 if isinstance(found.exception, VlclsError) else found.exit_code

    assert code("photo,autoclip:beta=x") == 1
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").glob("cells/*"))
    assert code("photo,descriptors", "--no-controls") == 3
    assert code("photo", "--no-controls") == 0


def test_corruptions_are_measured_and_never_called_mce(data: Path, clip: Encoder, tmp_path: Path):
    from vlcls.evaluation.data.suites import CorruptionRun
    from vlcls.evaluation.run.api import plan_of
    from vlcls.evaluation.run.harness import run
    from vlcls.evaluation.run.plan import Plan

    plan = plan_of(data / "photo", "photo", clip, controls=False, cache=False)
    some = CorruptionRun(set="photo", names=("brightness", "contrast"), severities=(1, 5))
    results = run(Plan(plan.sets, plan.methods, plan.encoders, corruptions=(some,), cache=False), tmp_path)
    (row,) = results["corruptions"]
    assert set(row["errors"]) == {"brightness", "contrast"} and "unnormalised" in row["name"]
    assert [cell["set"] for cell in results["cells"]] == ["photo"]


def test_right_reasons_by_hand(data: Path, clip: Encoder, tmp_path: Path):
    from vlcls.evaluation.metrics.rationale_search import RationaleTexts
    from vlcls.evaluation.run.right_reasons import RationaleData

    reasons = {"cat": ["whiskers", "a tail"], "dog": ["a tail", "a nose"], "fox": ["red fur"]}
    (tmp_path / "reasons.json").write_text(json.dumps(reasons))
    rows = [
        {"image": str(path), "label": path.parent.name, "rationale": reasons[path.parent.name][0]}
        for path in sorted((data / "photo").rglob("*.png"))
    ]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = open_set(tmp_path / "set.jsonl", group_columns=("rationale",))
    found = vlcls.evaluate(
        given, "photo", clip, tmp_path / "run", controls=False, cache=False,
        rationales=RationaleData(tmp_path / "reasons.json"),
    )["rationales"][0]  # fmt: skip
    texts = RationaleTexts.of({name: reasons[name] for name in given.labels.names})
    assert found["texts"] == len(texts) == 12
    embedded = clip.encode_texts(texts.block(0, 12))
    counts = {"RR": 0, "RW": 0, "WR": 0, "WW": 0}
    for row in rows:
        image = next(iter(vlcls.build_classifier(["x"], clip).embedded([row["image"]], cache=False)))[1]
        best = (embedded @ image[0]).argsort(descending=True)[:5].tolist()
        pairs = [(texts.categories[at // 4], texts.rationales[at % 4]) for at in best]
        votes = [category for category, _ in pairs]
        said = max(votes, key=lambda name: (votes.count(name), -votes.index(name)))
        reason = (said, row["rationale"]) in pairs
        counts[("R" if said == row["label"] else "W") + ("R" if reason else "W")] += 1
    assert {name: round(found["quadrants"][name]["value"] * 12) for name in counts} == counts
    with pytest.raises(EvaluationError, match="no group column 'rationale'"):
        vlcls.evaluate(
            data / "photo", "photo", clip, tmp_path / "x", cache=False,
            rationales=RationaleData(tmp_path / "reasons.json"),
        )  # fmt: skip


def test_figures_equal_clip_benchmark_s_protocol(
    data: Path, clip: Encoder, clip_folder: Path, tmp_path: Path
):
    """Its published steps with open_clip alone: templates as they are, two normalisations, cosine x 100."""
    import open_clip
    from PIL import Image
    from sklearn.metrics import balanced_accuracy_score

    from vlcls.imagenet import templates

    names = [*CLASSES, "owl", "hen", "elephant", "apple"]
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    with torch.no_grad():
        columns = []
        for name in names:
            texts = tokenizer([template.replace("{}", name) for template in templates("simple")])
            embedded = torch.nn.functional.normalize(model.encode_text(texts), dim=-1).mean(0)
            columns.append(embedded / embedded.norm())
        paths = sorted((data / "photo").rglob("*.png"))
        pixels = torch.stack([preprocess(Image.open(path).convert("RGB")) for path in paths])
        images = torch.nn.functional.normalize(model.encode_image(pixels), dim=-1)
        logits = 100 * images @ torch.stack(columns, dim=1)
    truth = torch.tensor([names.index(path.parent.name) for path in paths])
    best = logits.topk(5, dim=1).indices
    wanted = {
        "acc1": float((best[:, 0] == truth).float().mean()),
        "acc5": float((best == truth[:, None]).any(1).float().mean()),
        "mean_per_class_recall": balanced_accuracy_score(truth, best[:, 0]),
    }
    given = open_set(data / "photo", labels=names)
    vlcls.evaluate(given, "ensemble:templates=simple", clip, tmp_path, controls=False, cache=False)
    (found,) = json.loads((tmp_path / "clip_benchmark.json").read_text())
    assert set(found) >= {"dataset", "model", "pretrained", "task", "metrics", "language"}
    assert {key: found["metrics"][key] for key in wanted} == pytest.approx(wanted)


def test_methods_that_find_names(data: Path, clip: Encoder, tmp_path: Path):
    from vlcls.classifiers.cased import Cased
    from vlcls.evaluation.metrics.vocabulary_free import cluster_accuracy
    from vlcls.retrieval.build import build_captions

    captions = tmp_path / "captions"
    texts = [f"a {animal} {doing}" for animal in ("cat", "dog", "fox", "owl") for doing in ("sleeps", "runs")]
    build_captions(texts, captions, clip)
    typed = f"photo,cased:captions={captions},closest-caption:captions={captions}"
    results = vlcls.evaluate(data / "photo", typed, clip, tmp_path / "run", controls=False, cache=False)
    assert [cell["method"] for cell in results["cells"]] == ["photo"] and not results["failed"]
    cased, closest = results["discoveries"]
    table = parquet.read_table(tmp_path / "run" / cased["predictions"]).to_pydict()
    rows = next(
        iter(
            vlcls.build_classifier(["x"], clip).embedded(
                [data / "photo" / n for n in table["image"]], cache=False
            )
        )
    )[1]
    wanted = [naming.label for naming in Cased(captions, clip, cache=False)(rows)]
    assert table["predicted"] == wanted
    assert cased["cluster_accuracy"] == cluster_accuracy(wanted, table["true"])
    assert all(" " in name for name, _ in closest["names"]) and closest["images"] == 12
    assert "Without a list of names" in (tmp_path / "run/report.html").read_text()
    again = vlcls.evaluate(data / "photo", typed, clip, tmp_path / "run", controls=False, cache=False)
    assert without_times(again) == without_times(results)
    with pytest.raises(EvaluationError, match="no caption database"):
        vlcls.evaluate(data / "photo", "cased:captions=nowhere", clip, tmp_path / "x", cache=False)


def test_what_was_learned_from_is_left_out_and_named(
    data: Path, clip: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from vlcls.images import content_key
    from vlcls.learning import Training, learn_names

    first = learn_names(
        list(CLASSES[:2]), labelled(data / "photo", CLASSES[:2]), clip, settings=Training(epochs=1), shots=1
    )
    # Learned again from others, saved, and with a class added: the record stays.
    second = learn_names(
        first.classifier, labelled(data / "photo", CLASSES[:2]), clip,
        settings=Training(epochs=1, seed=5), shots=2,
    )  # fmt: skip
    added = with_new_classes(second.classifier.prompts, {"fox": "fox"})
    folder = second.classifier.with_prompts(added, cache=False).save_pretrained(tmp_path / "names")
    learned = vlcls.load(folder).fitted.labelled
    assert 4 <= len(learned) <= 6 and learned >= first.classifier.fitted.labelled

    spec = f"learned-names:from={folder}"
    results = vlcls.evaluate(data / "photo", f"photo,{spec}", clip, tmp_path / "run", cache=False)
    cells = {cell["method"]: cell for cell in results["cells"]}
    assert cells["photo"]["left_out"] == 0 and cells["photo"]["metrics"]["images"] == 12
    assert cells[spec]["left_out"] == len(learned)
    assert cells[spec]["metrics"]["images"] == 12 - len(learned)
    rows = parquet.read_table(tmp_path / "run" / cells[spec]["predictions"]).to_pydict()
    seen = {content_key((data / "photo" / name).read_bytes()).hex() for name in rows["image"]}
    assert len(seen) == 12 - len(learned) and not seen & learned
    (gain,) = (gain for gain in results["gains"] if gain["method"] == spec)
    # Its comparisons are over the images that it has not seen.
    for each in gain["comparisons"].values():
        wrong = each["accuracy"] * (12 - len(learned))
        assert wrong == pytest.approx(round(wrong))
    assert results["methods"][spec]["trained_on"] == len(learned)
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"trained on {len(learned)} labelled images" in page
    assert f"was trained on {len(learned)} images of photo" in page
    # Of the very images alone nothing is left.
    every = learn_names(None, data / "photo", clip, settings=Training(epochs=1)).save(tmp_path / "all")
    results = vlcls.evaluate(
        data / "photo", f"photo,learned-names:from={every}", clip, tmp_path / "none", cache=False
    )
    assert "trained on all 12 images of this set" in results["failed"][0]["error"]


def labelled(folder: Path, classes: tuple[str, ...]) -> Any:
    from vlcls.image_sources import find_images
    from vlcls.labelled import LabelledImages
    from vlcls.labels import as_labels

    sources = [source for name in classes for source in find_images([folder / name])]
    places = tuple(classes.index(Path(str(source.data)).parent.name) for source in sources)
    return LabelledImages(sources, places, {}, as_labels(list(classes)))


# ---- hard data -----------------------------------------------------------------------------------------


def test_images_with_several_classes_and_with_none(data: Path, clip: Encoder, tmp_path: Path):
    from sklearn.metrics import average_precision_score

    paths = sorted((data / "photo").rglob("*.png"))
    truth = [[CLASSES.index(path.parent.name), 2][: 1 + number % 2] for number, path in enumerate(paths)]
    truth[3] = []
    rows = [{"image": str(path), "label": own} for path, own in zip(paths, truth, strict=True)]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = open_set(tmp_path / "set.jsonl", labels=list(CLASSES))
    assert given.multi_label
    results = vlcls.evaluate(given, "photo,ensemble:templates=simple", clip, tmp_path / "run", cache=False)
    classifier = vlcls.build_classifier(list(CLASSES), clip)
    images = torch.cat([rows for _, rows, _ in classifier.embedded(paths, cache=False)])
    member = np.zeros((len(paths), 3))
    for row, own in enumerate(truth):
        member[row, own] = 1
    found = results["cells"][0]["metrics"]["mean_average_precision"]["value"]
    assert found == pytest.approx(
        average_precision_score(member, classifier.scores(images).numpy()), abs=1e-4
    )
    assert results["gains"] == [] and "verage precision" in (tmp_path / "run/report.html").read_text()


def test_one_class_only(data: Path, clip: Encoder, tmp_path: Path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/cat").symlink_to(data / "photo/cat")
    results = vlcls.evaluate(
        tmp_path / "set", "photo,ensemble:templates=simple", clip, tmp_path / "run", cache=False
    )
    assert all(cell["metrics"]["top1"]["value"] == 1 for cell in results["cells"])
    assert {gain["reason"] for gain in results["gains"]} == {"no evidence"}


def test_a_class_without_images_and_very_many_classes(data: Path, clip: Encoder, tmp_path: Path):
    names = [*CLASSES, *(f"thing {number}" for number in range(2_000))]
    given = open_set(data / "photo", labels=names)
    assert any("no image" in problem for problem in given.problems)
    results = vlcls.evaluate(given, "name", clip, tmp_path / "run", controls=False, cache=False)
    metrics = results["cells"][0]["metrics"]
    assert metrics["classes"] == 2003 and metrics["classes_with_images"] == 3


def test_names_that_do_not_match(data: Path, tmp_path: Path):
    with pytest.raises(LabelError, match="'cat'"):
        open_set(data / "photo", labels=["owl", "hen"])


# ---- crashes and processes -----------------------------------------------------------------------------


def command(data: Path, spec: str, output: Path) -> list[str]:
    return [
        sys.executable, "-m", "vlcls", "evaluate", str(data / "photo"), str(data / "sketch"),
        "--in-distribution", "photo", "-m", METHODS, "-e", spec, "-o", str(output), "--batch-size", "2",
    ]  # fmt: skip


def test_killed_three_times_and_resumed(data: Path, model_spec: Callable[[str], str], tmp_path: Path):
    spec = model_spec("open_clip-clip")
    environment = {**os.environ, "VLCLS_CACHE": str(tmp_path / "cache")}
    whole = subprocess.run(command(data, spec, tmp_path / "whole"), env=environment, capture_output=True)
    assert whole.returncode == 3, whole.stderr.decode()[-2000:]  # one image cannot be read
    environment["VLCLS_CACHE"] = str(tmp_path / "cache of the killed")
    output = tmp_path / "killed"
    for cells in (0, 1, 3):  # killed while it encodes, and with so many cells finished
        process = subprocess.Popen(
            command(data, spec, output), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and len(list(output.glob("cells/*.json"))) < cells:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (output / "results.json").exists()
    finished = {path.name: path.stat().st_mtime_ns for path in output.glob("cells/*.json")}
    assert len(finished) >= 3
    subprocess.run(command(data, spec, output), env=environment, capture_output=True)
    for name, made in finished.items():
        assert (output / "cells" / name).stat().st_mtime_ns == made
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "killed")]
    assert without_times(results[0]) == without_times(results[1])


@pytest.mark.parametrize("count", [1, 7, 24])
def test_two_processes_give_what_one_gives(
    data: Path, model_spec: Callable[[str], str], tmp_path: Path, count: int
):
    spec, limit = model_spec("open_clip-clip"), ["--limit", str(count)]
    typed = [str(data), "-m", "photo,waffle:seeds=2", "-e", spec, "--batch-size", "2", *limit]
    base = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    found = []
    for name, launch in (
        ("one", [sys.executable, "-m"]),
        ("two", [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
                 "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
                 "--main_process_port", "0", "-m"]),
    ):  # fmt: skip
        environment = {**base, "VLCLS_CACHE": str(tmp_path / f"cache of {name}")}
        if name == "two":
            environment["ACCELERATE_USE_CPU"] = "true"
        run = subprocess.run(
            [*launch, "vlcls", "evaluate", *typed, "-o", str(tmp_path / name)],
            env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert run.returncode in (0, 3), run.stderr[-3000:]
        found.append(json.loads((tmp_path / name / "results.json").read_text()))
    one, two = found
    assert [c["prompts_sha256"] for c in one["cells"]] == [c["prompts_sha256"] for c in two["cells"]]
    for a, b in zip(one["cells"], two["cells"], strict=True):
        tables = [
            parquet.read_table(tmp_path / name / cell["predictions"]).to_pydict()
            for name, cell in (("one", a), ("two", b))
        ]
        assert tables[0]["image"] == tables[1]["image"] and tables[0]["predicted"] == tables[1]["predicted"]
        assert tables[0]["nll"] == pytest.approx(tables[1]["nll"], abs=1e-4)
        assert a["metrics"]["top1"] == b["metrics"]["top1"]
    assert one["sets"] == two["sets"]
