"""`vlcls bias` as a user meets it: images on disk, an encoder, a report, an edit that is accepted.

The encoder reads an image's embedding off its pixels and knows the texts of a made-up set, so that it is
known what is wrong; the models of other tests are random and would be wrong in ways that nobody planted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from planted import DESCRIPTOR, LACKING, WIDTH, planted_set
from torch import nn

from vlcls.cli import main
from vlcls.descriptors import read_descriptors
from vlcls.encoders.base import Encoder, Tokens

SIDE = 8
#: Candidates, and how much of each is what tells a cow from the others.
MORE = {"two curved horns": 1.0, "a wet nose": 0.8, "a bell": 0.6, "an udder": 0.4, "a tail": 0.2}


class PixelEncoder(Encoder):
    """Pixels are the image embedding; texts are looked up."""

    spec, precision, logit_scale = "pixels", "fp32", 20.0
    embedding_dim, context_length, image_size = WIDTH, 1, (SIDE, SIDE)
    mean = std = (0.5, 0.5, 0.5)

    def __init__(self, texts):
        self.device = torch.device("cpu")
        self.places = {text: place for place, text in enumerate(texts, 1)}
        unknown = torch.ones(1, WIDTH)
        self.table = nn.Embedding.from_pretrained(torch.cat([unknown, torch.stack(list(texts.values()))]))

    @property
    def modules(self):
        return self.table

    @property
    def token_table(self):
        return self.table

    @property
    def vocabulary(self):
        return self.places

    @property
    def description(self):
        return {"kind": "pixels", "texts": list(self.places)}

    def preprocess(self, image):
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)

    def tokenize(self, texts):
        ids = torch.tensor([[self.places.get(text.removeprefix("which has "), 0)] for text in texts])
        return Tokens(ids, torch.ones(len(ids), dtype=torch.int64), torch.zeros(len(ids), dtype=torch.bool))

    def image_features(self, pixels):
        return pixels[:, 0].flatten(1)

    def text_features(self, tokens):
        return self.table(tokens.ids)[:, 0]


def save_images(images, folder, names):
    for name, vector in zip(names, images.numpy(), strict=True):
        pixels = np.round(127.5 + 127.5 * vector / np.abs(vector).max()).astype(np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.reshape(SIDE, SIDE)).save(folder / name)


@pytest.fixture(scope="module")
def made():
    return planted_set(7, per_cell=90)


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bias")
    labels = made.classifier.labels
    names = [
        f"{place}/{labels.names[index]}/{row}.png"
        for row, (place, index) in enumerate(
            zip(made.images.groups["place"], made.images.class_indices.tolist(), strict=True)
        )
    ]
    save_images(made.images.embeddings, root / "photos", names)
    own = {
        name: [prompt.descriptor for prompt in made.classifier.prompts.of_class(index)]
        for index, name in enumerate(labels.names)
    }
    (root / "animals.json").write_text(json.dumps(own))
    (root / "more.json").write_text(json.dumps({name: list(MORE) for name in own}))
    (root / "words.txt").write_text("\n".join(["# places", *made.words, "", "n1\tgreen grass"]))
    return root


@pytest.fixture
def run(capsys, monkeypatch, made):
    """Run `vlcls ARGS` in this process: exit code, standard output, standard error."""
    vectors = made.classifier.text_embeddings
    apart, noise = (
        vectors[1:4].mean(0) - vectors[4:].mean(0),
        torch.randn(WIDTH, generator=torch.manual_seed(0)),
    )
    apart, noise = apart / apart.norm(), noise / noise.norm()
    more = {text: part * apart + (1 - part) * noise for text, part in MORE.items()}
    encoder = PixelEncoder({**made.text_embeddings, **more})
    monkeypatch.setattr("vlcls.encoders.load_encoder", lambda *arguments, **options: encoder)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["vlcls", "bias", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return stop.value.code or 0, output.out, output.err

    return call


def options(folder, *more):
    return folder / "photos", "-d", folder / "animals.json", "--phrasing", "alone", *more


def worst_of(data):
    return min(each["accuracy"]["value"] for each in data["accuracies"] if each["column"])


def test_the_whole_story(run, folder, tmp_path):
    """Looked at, suggested, accepted, and measured on images nobody has looked at."""
    asked = options(folder, "--vocabulary", folder / "words.txt", "--format", "json")
    code, out, err = run(*asked)
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert (data["shown"], data["held_out"]) == (540, 540) and "held_out_figures" not in data
    first = data["reliance"]["found"][0]
    assert (first["label"], first["text"], first["column"]) == ("cow", DESCRIPTOR, "group")
    assert first["group"] in LACKING and first["context"]
    suggestion = data["suggestions"][0]
    assert (suggestion["label"], suggestion["text"]) == ("cow", DESCRIPTOR)
    assert suggestion["group"] in LACKING
    assert ["yellow sand"] in [mode["words"] for mode in data["failure_modes"]["found"]]
    held = json.loads(run(*asked, "--held-out")[1])["held_out_figures"]
    assert held["effects"][0]["change"]["low"] > 0
    # Accepted: only that descriptor goes, and what was predicted and measured comes true.
    edited = tmp_path / "edited.json"
    code, out, err = run(*asked, "--held-out", "--apply", 1, "-o", edited)
    assert (code, err) == (0, "") and json.loads(out)["suggestions"] == data["suggestions"]
    before, after = read_descriptors(folder / "animals.json"), read_descriptors(edited)
    assert [text for text in before.texts(0) if text not in after.texts(0)] == [DESCRIPTOR]
    assert len(after) == len(before) - 1
    again = list(asked)
    again[2] = edited
    found = json.loads(run(*again, "--held-out")[1])
    assert found["suggestions"] == [] and DESCRIPTOR not in out.split('"suggestions"')[0]
    assert worst_of(found) == pytest.approx(suggestion["predicted"]["worst_after"]["accuracy"])
    measured = held["effects"][0]["worst_after"]["accuracy"]
    assert worst_of(found["held_out_figures"]) == pytest.approx(measured)


def test_a_report_to_read(run, folder):
    code, out, err = run(*options(folder, "--vocabulary", folder / "words.txt"))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "photos: 540 images shown, 540 held out (seed 0)"
    assert f"1. cow: leave out “{DESCRIPTOR}”" in lines
    assert "measured" not in out and "Figures of the images held out: --held-out" in out
    assert any(line.startswith("- cow with “yellow sand”: ") for line in lines)
    assert any(DESCRIPTOR in line and line.endswith("the group") for line in lines)
    # One failure once: the two groups that have sand are the same images in other words.
    assert sum(line.startswith("- cow with ") for line in lines) == 1
    assert any("the same images, in other words: “group: " in line for line in lines)
    assert any(line.startswith("  taken for ") for line in lines)
    assert lines[-1].startswith(f"In short: without “{DESCRIPTOR}” of cow the worst group (group: ")
    held = run(*options(folder, "--vocabulary", folder / "words.txt", "--held-out"))[1]
    assert "   measured, on images held out: worst group " in held and "  held out: cow with “yellow" in held


def test_other_words_instead(run, folder, tmp_path):
    edited = tmp_path / "edited.json"
    more = ("--replacements", folder / "more.json", "--held-out", "--format", "json")
    code, out, err = run(*options(folder, *more, "--apply", 2, "-o", edited))
    assert (code, err) == (0, "")
    data = json.loads(out)
    removal, replaced = data["suggestions"][:2]
    assert removal["replacement"] is None and replaced["replacement"] in MORE
    assert replaced["predicted"]["change"]["value"] > removal["predicted"]["change"]["value"]
    assert len(data["held_out_figures"]["effects"]) == len(data["suggestions"])
    assert read_descriptors(edited).texts(0)[0] == replaced["replacement"]
    found = json.loads(run(folder / "photos", "-d", edited, "--phrasing", "alone", *more)[1])
    measured = data["held_out_figures"]["effects"][1]["worst_after"]["accuracy"]
    assert worst_of(found["held_out_figures"]) == pytest.approx(measured)


def test_textures(run, made, folder, tmp_path):
    """Images whose file names say another class than their folders."""
    names = made.classifier.labels.names
    rows = range(0, 300, 10)
    cues = [(names[row % 3], names[(row + 1 + row % 2) % 3]) for row in rows]
    saved = [
        f"{shape}/{shape}{row}-{texture}{row}.png" for row, (shape, texture) in zip(rows, cues, strict=True)
    ]
    save_images(made.images.embeddings[list(rows)], tmp_path / "cues", saved)
    asked = (
        tmp_path / "cues",
        "-d",
        folder / "animals.json",
        "--phrasing",
        "alone",
        "--texture",
        "file-name",
    )
    data = json.loads(run(*asked, "--held-out", "--format", "json")[1])
    said = made.classifier.similarities(made.images.embeddings[list(rows)]).argmax(1)
    decided = data["texture_or_shape"]
    for cue, kind in ((0, "shape"), (1, "texture")):
        expected = sum(names[int(place)] == pair[cue] for place, pair in zip(said, cues, strict=True))
        assert sum(decided[part][0][kind] for part in ("shown", "held out")) == expected > 0
    out = run(*asked)[1]
    assert "Texture or shape, images shown" in out and "images held out\n" not in out
    code, _, err = run(*options(folder, "--texture", "file-name"))
    assert code == 1 and "no texture in this name" in err


def test_nothing_to_find(run, made, folder, tmp_path):
    few = list(range(0, len(made.images), 27))
    labels = made.classifier.labels.names
    names = [f"{labels[int(made.images.class_indices[row])]}/[b]<i>{row}.png" for row in few]
    save_images(made.images.embeddings[few], tmp_path / "few", names)
    code, out, err = run(tmp_path / "few", "-d", folder / "animals.json", "--phrasing", "alone")
    assert (code, err) == (0, "") and "Nothing was found: " in out
    lines = out.splitlines()
    assert sum(line.startswith("- ") and "not " in line for line in lines) == 3  # one for each search
    assert lines[-1].startswith("In short: there were no groups ") and " taken for " in lines[-1]
    code, _, err = run(
        *(tmp_path / "few", "-d", folder / "animals.json", "--phrasing", "alone", "--apply", 1),
        *("-o", tmp_path / "new.json"),
    )
    assert code == 1 and "no suggestion 1 to apply: there is none" in err
    assert not (tmp_path / "new.json").exists()


def test_mistyped(run, folder):
    code, _, err = run(*options(folder, "--apply", 1))
    assert code == 2 and "--output NEW.json" in err
    code, _, err = run(*options(folder, "--groups", "background"))
    assert code == 1 and "no columns but its groups (group)" in err
    code, _, err = run(*options(folder, "--vocabulary", folder / "nowhere.txt"))
    assert code == 1 and "nowhere.txt" in err
    (folder / "empty.txt").write_text("# words\n\n")
    code, _, err = run(*options(folder, "--vocabulary", folder / "empty.txt"))
    assert code == 1 and "no words in it" in err


def test_images_that_cannot_be_read(run, folder, tmp_path, made):
    photos = tmp_path / "photos"
    names = [f"{made.classifier.labels.names[index]}/{row}.png" for index in range(3) for row in range(3)]
    save_images(made.images.embeddings[:9], photos, names)
    (photos / "cow/broken.png").write_bytes(b"no image")
    code, out, err = run(photos, "-d", folder / "animals.json", "--phrasing", "alone")
    assert code == 3 and "not read: " in err and "images shown" in out
