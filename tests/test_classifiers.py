"""Scoring, predicting, saving and loading; classifiers of embeddings that were made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import save_open_clip
from PIL import Image

import vlcls
from vlcls.classifiers.base import unit_rows
from vlcls.encoders import Encoder
from vlcls.errors import EmbeddingError, EncoderError, EncoderMismatchError, LabelError, VlclsError
from vlcls.labels import as_labels
from vlcls.prompts import Prompt, PromptSet

NAMES = ["cat", "dog", "horse", "elephant"]
# methods.md, table of section 0.2: raw texts of two classes and an image.
IMAGE = torch.tensor([[2.0, 2.0, 1.0]]) / 3
TEXTS = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0.6, 0.8], [0, 0.8, 0.6]])


@pytest.fixture(scope="module")
def classifier(clip: Encoder) -> vlcls.PromptClassifier:
    return vlcls.build_classifier(NAMES, clip, "simple", cache=False)


def random_rows(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


# ---- scores --------------------------------------------------------------------------------------------


def test_the_worked_example():
    made = vlcls.classifier_from_embeddings(["A", "B"], TEXTS, 10.0, class_indices=[0, 0, 1, 1])
    found = made.similarities(IMAGE)
    assert found[0].tolist() == pytest.approx([0.9428, 0.7071], abs=5e-5)
    assert made.scores(IMAGE)[0].tolist() == pytest.approx([9.428, 7.071], abs=5e-4)
    assert made.probabilities(IMAGE)[0].tolist() == pytest.approx([0.9135, 0.0865], abs=5e-5)
    assert made.predict(IMAGE)[0].label == "A"


def test_scores_equal_a_loop_in_float64():
    generator = np.random.default_rng(0)
    rows, images = generator.normal(size=(11, 6)) * 7, generator.normal(size=(5, 6)) * 0.01
    classes = [3, 0, 2, 2, 1, 0, 3, 3, 1, 2, 0]
    made = vlcls.classifier_from_embeddings(
        NAMES, rows, 20.0, class_indices=classes, logit_bias=-3.0, activation="sigmoid"
    )
    found, likely = made.scores(images), made.probabilities(images)
    assert found.dtype == torch.float32 and found.shape == (5, 4)
    for n, image in enumerate(images):
        for c in range(4):
            mine = [row / np.sqrt(row @ row) for row, k in zip(rows, classes, strict=True) if k == c]
            mean = sum(mine) / len(mine)
            cosine = image @ mean / np.sqrt((image @ image) * (mean @ mean))
            assert float(found[n, c]) == pytest.approx(20 * cosine - 3, abs=1e-4)
            assert float(likely[n, c]) == pytest.approx(1 / (1 + np.exp(3 - 20 * cosine)), abs=1e-5)


def test_weights_of_prompts_count():
    prompts = tuple(Prompt("", index, "embedding", weight=w) for index, w in ((0, 3.0), (0, 1.0), (1, 0.5)))
    rows = torch.eye(3)
    made = vlcls.PromptClassifier(PromptSet(as_labels(["a", "b"]), prompts), rows)
    wanted = torch.tensor([[3, 1, 0], [0, 0, 1]]) / torch.tensor([[10**0.5], [1]])
    assert torch.allclose(made.zero_shot_weights, wanted)


def test_softmax_sums_to_one_and_sigmoid_need_not(clip: Encoder, siglip: Encoder):
    for encoder, activation in ((clip, "softmax"), (siglip, "sigmoid")):
        made = vlcls.build_classifier(NAMES, encoder, cache=False)
        assert made.activation == activation
        assert (made.logit_scale, made.logit_bias) == (encoder.logit_scale, encoder.logit_bias)
        images = random_rows(6, encoder.embedding_dim)
        found, logits = made.probabilities(images), made.scores(images).double()
        sums = found.sum(1)
        if activation == "softmax":
            assert torch.allclose(sums, torch.ones(6), atol=1e-6)
            assert (found - logits.exp() / logits.exp().sum(1, keepdim=True)).abs().max() < 1e-6
        else:
            assert (sums - 1).abs().min() > 1e-2
            assert (found - 1 / (1 + (-logits).exp())).abs().max() < 1e-6


def test_embeddings_are_normalised_and_left_unchanged(classifier):
    images = random_rows(3, 48)
    before = images.clone()
    assert torch.allclose(classifier.scores(images * 250), classifier.scores(images), atol=1e-5)
    assert torch.allclose(classifier.scores(images.double().numpy()), classifier.scores(images), atol=1e-5)
    assert torch.allclose(classifier.scores(images.half()), classifier.scores(images), atol=0.05)
    assert torch.equal(images, before)


# ---- predictions ---------------------------------------------------------------------------------------


def test_predict_paths_pictures_and_embeddings_alike(classifier, clip: Encoder, photos: list[Path]):
    pictures = [Image.open(path).convert("RGB") for path in photos[:5]]
    embeddings = clip.encode_images(torch.stack([clip.preprocess(picture) for picture in pictures]))
    by_path = classifier.predict([str(path) for path in photos[:5]], top_k=2, cache=False)
    by_picture = classifier.predict(pictures, top_k=2, cache=False)
    by_embedding = classifier.predict(embeddings, top_k=2)
    wanted = classifier.probabilities(embeddings)
    assert [item.image for item in by_path] == [str(path) for path in photos[:5]]
    assert [item.image for item in by_picture] == [f"image {row}" for row in range(5)]
    for found in (by_path, by_picture, by_embedding):
        for row, item in enumerate(found):
            assert item.error is None and len(item.top_k) == 2
            assert item.label == item.top_k[0].label == NAMES[int(wanted[row].argmax())]
            assert item.score == pytest.approx(float(wanted[row].max()), abs=1e-5)
            for prediction in item.top_k:
                assert prediction.label == NAMES[prediction.index]
                assert prediction.score == pytest.approx(float(wanted[row, prediction.index]), abs=1e-5)
    one = classifier.predict(photos[0], cache=False)
    assert len(one) == 1 and one[0].label == by_path[0].label


def test_predictions_come_while_images_are_read(classifier, photos: list[Path]):
    run = classifier.iter_predict(photos, cache=False, batch_size=2, workers=1)
    assert next(run).image == str(photos[0])
    run.close()


def test_an_unreadable_image_is_a_result_with_an_error(classifier, photos: list[Path], tmp_path: Path):
    found = classifier.predict([photos[0], tmp_path / "none.jpg", photos[1]], cache=False)
    assert [item.error is None for item in found] == [True, False, True]
    bad = found[1]
    assert bad.image in bad.error and (bad.label, bad.score, bad.top_k) == (None, None, ())


@pytest.mark.parametrize(("top_k", "length"), [(1, 1), (3, 3), (4, 4), (5, 4), (1000, 4)])
def test_top_k(classifier, top_k: int, length: int):
    (item,) = classifier.predict(random_rows(1, 48), top_k=top_k)
    assert len(item.top_k) == length
    scores = [prediction.score for prediction in item.top_k]
    assert scores == sorted(scores, reverse=True)
    assert len({prediction.index for prediction in item.top_k}) == length


def test_ties_go_to_the_class_that_comes_first():
    count = 40  # a sort that is not stable shows itself on long rows only
    rows = torch.eye(3)[[0] + [1] * (count - 1)]
    made = vlcls.classifier_from_embeddings([f"class {n}" for n in range(count)], rows)
    (item,) = made.predict(torch.tensor([[0.0, 1.0, 0.0]]), top_k=count)
    assert [prediction.index for prediction in item.top_k] == [*range(1, count), 0]
    (item,) = made.predict(torch.tensor([[0.0, 0.0, 1.0]]), top_k=count)
    assert [prediction.index for prediction in item.top_k] == list(range(count))


def test_classes_that_share_a_name_are_told_apart(clip: Encoder):
    labels = {"n1": "sunglasses", "n2": "cat", "n3": "sunglasses"}
    made = vlcls.build_classifier(labels, clip, cache=False)
    (item,) = made.predict(random_rows(1, 48))
    assert {p.index: p.label for p in item.top_k} == {0: "sunglasses (n1)", 1: "cat", 2: "sunglasses (n3)"}
    assert torch.equal(made.zero_shot_weights[0], made.zero_shot_weights[2])


def test_cache_argument(tmp_path: Path, clip: Encoder, photos: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLCLS_CACHE", str(tmp_path / "default"))
    vlcls.build_classifier(NAMES, clip, cache=False).predict(photos[0], cache=False)
    assert not list(tmp_path.iterdir())
    mine = tmp_path / "mine"
    vlcls.build_classifier(NAMES, clip, cache=mine).predict(photos[0], cache=str(mine))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    vlcls.build_classifier(NAMES, clip).predict(photos[0])
    for root in (mine, tmp_path / "default"):
        parts = vlcls.EmbeddingStore(root).info()
        assert {part.kind: part.embeddings for part in parts} == {"images": 1, "texts": 4}


# ---- bring your own ------------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.double])
def test_one_row_a_class(convert: Callable[[torch.Tensor], Any]):
    rows, images = random_rows(4, 8), random_rows(3, 8, seed=1)
    made = vlcls.classifier_from_embeddings(NAMES, convert(rows))
    wanted = 100 * torch.nn.functional.cosine_similarity(images[:, None], rows[None], dim=-1)
    assert (made.scores(images) - wanted).abs().max() < 1e-3
    assert made.encoder_info is None and made.logit_scale == 100
    found = made.predict(images.numpy(), top_k=1)
    assert [item.image for item in found] == ["embedding 0", "embedding 1", "embedding 2"]
    assert [item.top_k[0].index for item in found] == wanted.argmax(1).tolist()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 0], [float("nan"), 1]], "text embeddings: row 1 holds NaN"),
        ([[1.0, 0], [float("inf"), 1]], "text embeddings: row 1 holds NaN or inf"),
        ([[1.0, 0], [0.0, 0]], "text embeddings: row 1 is all zeros"),
        ([[1.0, 0]], "1 text embeddings for 2 labels"),
        ([1.0, 2.0], "two dimensions"),
        ([[[1.0]], [[2.0]]], "two dimensions"),
        ([[], []], "two dimensions"),
        ([["a"], ["b"]], "numbers are expected"),
        ([[1.0], [2.0, 3.0]], "numbers are expected"),
    ],
)
def test_text_embeddings_that_cannot_be(rows: Any, message: str):
    with pytest.raises(EmbeddingError, match=message):
        vlcls.classifier_from_embeddings(["a", "b"], rows)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 1], "2 class indices for 3"),
        ([0, 0, 0], "class 'b' has no row"),
        ([0, 1, 2], "out of range"),
        ([0, 1, -1], "out of range"),
    ],
)
def test_class_indices_that_cannot_be(indices: list[int], message: str):
    with pytest.raises(EmbeddingError, match=message):
        vlcls.classifier_from_embeddings(["a", "b"], torch.eye(3), class_indices=indices)


def test_image_embeddings_that_cannot_be():
    made = vlcls.classifier_from_embeddings(["a", "b"], torch.eye(2))
    with pytest.raises(EmbeddingError, match=r"image embeddings are 3 wide.*2"):
        made.scores(torch.ones(1, 3))
    with pytest.raises(EmbeddingError, match=r"image embeddings: row 2 .*\(2 such rows\)"):
        made.scores(torch.tensor([[1.0, 1], [1, 1], [0, 0], [0, 0]]))
    rows = torch.ones(6000, 2)
    rows[5000, 1] = float("nan")
    with pytest.raises(EmbeddingError, match="row 5000"):
        made.predict(rows)
    assert made.predict(torch.zeros(0, 2)) == []


@pytest.mark.parametrize("images", [["cat.jpg"], "cat.jpg", Path("cat.jpg"), [b"GIF89a"]])
def test_a_classifier_without_an_encoder_reads_no_images(images: Any):
    made = vlcls.classifier_from_embeddings(["a", "b"], torch.eye(2))
    with pytest.raises(VlclsError):
        made.predict(images)
    with pytest.raises(EncoderError, match="no encoder"):
        _ = made.encoder


def test_unit_rows_keep_their_direction_however_small():
    rows = unit_rows(torch.tensor([[3e-20, 4e-20], [3e20, 4e20]]), "rows")
    assert torch.allclose(rows, torch.tensor([[0.6, 0.8], [0.6, 0.8]]))


def test_labels_are_checked(clip: Encoder):
    with pytest.raises(LabelError, match="twice"):
        vlcls.build_classifier(["cat", "cat"], clip, cache=False)
    with pytest.raises(EmbeddingError, match="2 text embeddings for 1 prompts"):
        vlcls.PromptClassifier(PromptSet(as_labels(["a"]), (Prompt("", 0, "name"),)), torch.eye(2))


# ---- saving and loading --------------------------------------------------------------------------------


def test_round_trip(tmp_path: Path, siglip: Encoder, photos: list[Path], monkeypatch: pytest.MonkeyPatch):
    labels = {"n1": "sunglasses", "n2": "café 写真", "n3": "sunglasses"}
    made = vlcls.build_classifier(labels, siglip, "simple", cache=False)
    assert made.save_pretrained(tmp_path / "deep" / "down") == tmp_path / "deep" / "down"
    files = sorted(path.name for path in (tmp_path / "deep" / "down").iterdir())
    assert files == ["classifier.json", "text_embeddings.safetensors"]
    monkeypatch.setattr(type(siglip), "text_features", lambda *_: pytest.fail("encoded a text again"))
    again = vlcls.load(tmp_path / "deep" / "down", encoder=siglip)
    assert again.labels == made.labels and again.prompts == made.prompts
    assert torch.equal(again.text_embeddings, made.text_embeddings)
    assert again.encoder_info == made.encoder_info
    assert (again.logit_scale, again.logit_bias, again.activation) == (
        made.logit_scale,
        made.logit_bias,
        made.activation,
    )
    images = random_rows(5, siglip.embedding_dim)
    assert torch.equal(again.scores(images), made.scores(images))
    assert again.predict(photos[:3], cache=False) == made.predict(photos[:3], cache=False)


def test_round_trip_of_brought_embeddings(tmp_path: Path):
    made = vlcls.classifier_from_embeddings(NAMES, random_rows(5, 7), 33.0, class_indices=[0, 1, 2, 3, 0])
    again = vlcls.load(str(made.save_pretrained(tmp_path)))
    assert again.encoder_info is None and again.prompts == made.prompts
    assert torch.equal(again.scores(random_rows(3, 7, 1)), made.scores(random_rows(3, 7, 1)))


def test_the_encoder_comes_by_itself(tmp_path: Path, classifier, clip: Encoder, photos: list[Path]):
    again = vlcls.load(classifier.save_pretrained(tmp_path))
    assert again._encoder is None  # not before an image comes
    assert again.predict(photos[:1], cache=False) == classifier.predict(photos[:1], cache=False)
    assert again.encoder.fingerprint == clip.fingerprint


def test_another_encoder_is_refused(tmp_path: Path, classifier, siglip: Encoder, photos: list[Path]):
    folder = classifier.save_pretrained(tmp_path / "saved")
    with pytest.raises(EncoderMismatchError, match="fingerprint"):
        vlcls.load(folder, encoder=siglip)
    again = vlcls.load(folder)
    with pytest.raises(EncoderMismatchError):
        again.encoder = siglip
    # The same place on disk with other weights in it: only the fingerprint can tell.
    config = json.loads((folder / "classifier.json").read_text())
    other = save_open_clip(tmp_path / "other", seed=1)
    config["encoder"]["spec"] = f"open_clip:local-dir:{other}"
    (folder / "classifier.json").write_text(json.dumps(config))
    with pytest.raises(EncoderMismatchError, match="other weights"):
        vlcls.load(folder).predict(photos[:1], cache=False)
    with pytest.raises(EncoderMismatchError):
        vlcls.load(folder, device="cpu")


def damage(folder: Path, **changes: Any) -> None:
    path = folder / "classifier.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": "gone"},
        {"labels": []},
        {"labels": 3},
        {"labels": [{"name": "cat"}]},
        {"prompts": []},
        {"prompts": [{"text": "a"}]},
        {"prompts": [{"text": "a", "class_index": 9, "kind": "name"}]},
        {"prompts": "gone"},
        {"encoder": {"spec": "x"}},
        {"encoder": 3},
        {"logit_scale": "gone"},
    ],
)
def test_a_damaged_description_is_an_error_naming_the_folder(tmp_path: Path, changes: dict[str, Any]):
    vlcls.classifier_from_embeddings(["a", "b"], torch.eye(2)).save_pretrained(tmp_path)
    damage(tmp_path, **changes)
    with pytest.raises(VlclsError) as caught:
        vlcls.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert changes.get("format") != 2 or "newer" in str(caught.value)


@pytest.mark.parametrize("name", ["classifier.json", "text_embeddings.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe{", b"[]", b"null"])
def test_a_damaged_file_is_an_error_naming_the_folder(tmp_path: Path, name: str, content: bytes | None):
    vlcls.classifier_from_embeddings(["a", "b"], torch.eye(2)).save_pretrained(tmp_path)
    path = tmp_path / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(VlclsError, match="no readable classifier") as caught:
        vlcls.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_embeddings_that_do_not_belong_are_refused(tmp_path: Path):
    small, large = (vlcls.classifier_from_embeddings(NAMES[:n], torch.eye(n)) for n in (2, 3))
    small.save_pretrained(tmp_path / "a")
    large.save_pretrained(tmp_path / "b")
    name = "text_embeddings.safetensors"
    (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(VlclsError, match="belongs to another"):
        vlcls.load(tmp_path / "a")


@pytest.mark.parametrize("place", ["nowhere", "a/b/c", "./nobody/nothing", "nobody/nothing"])
def test_nothing_to_load(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VlclsError, match=r"no folder|neither a folder nor"):
        vlcls.load(place)


def test_push_to_hub(classifier, monkeypatch: pytest.MonkeyPatch):
    calls: list[Any] = []

    class FakeApi:
        def create_repo(self, repo_id: str, **options: Any) -> None:
            calls.append((repo_id, options))

        def upload_folder(self, *, repo_id: str, folder_path: str) -> str:
            calls.append((repo_id, vlcls.load(folder_path).labels))
            return "https://hub/commit"

    monkeypatch.setattr("huggingface_hub.HfApi", FakeApi)
    assert classifier.push_to_hub("me/animals", private=True) == "https://hub/commit"
    assert calls == [
        ("me/animals", {"exist_ok": True, "private": True}),
        ("me/animals", classifier.labels),
    ]
