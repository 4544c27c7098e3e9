"""What Python users pass as images: every form is read as the pictures it holds, or refused and named."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vlcls
from vlcls.encoders import Encoder
from vlcls.errors import EmbeddingError, EncoderError, ImageError, LabelError
from vlcls.image_sources import ImageSource, as_sources, find_images
from vlcls.images import decode, load_source

COLOURS = [(200, 10, 30), (20, 180, 40), (30, 60, 220)]


def png(colour: tuple[int, int, int], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8), colour).save(buffer, kind)
    return buffer.getvalue()


def pixels(colour: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (8, 12, 3)).copy()


def chw(colour: tuple[int, int, int]) -> torch.Tensor:
    return torch.from_numpy(pixels(colour)).permute(2, 0, 1)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    for number, colour in enumerate(COLOURS):
        Path(f"{number}.png").write_bytes(png(colour))
    return [f"{number}.png" for number in range(3)]


def colours(images: Any) -> list[tuple[int, ...]]:
    return [decode(load_source(source)).getpixel((3, 3)) for source in as_sources(images)]


def pandas_series(paths: list[str]) -> Any:
    return pytest.importorskip("pandas").Series(paths, index=[7, 3, 5])


def dataset(**columns: Any) -> Any:
    datasets = pytest.importorskip("datasets")
    rows = {"image": [Image.new("RGB", (12, 8), colour) for colour in COLOURS], "label": [0, 1, 2]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict({**rows, **columns}, features=features)


#: Forms of the three pictures, made of their paths.
MANY: dict[str, Callable[[list[str]], Any]] = {
    "list of paths": lambda paths: paths,
    "tuple": tuple,
    "generator": lambda paths: (Path(path) for path in paths),
    "dict keys": lambda paths: dict.fromkeys(paths).keys(),
    "glob of Path": lambda paths: sorted(Path().glob("*.png")),
    "array of paths": np.array,
    "array of objects": lambda paths: np.array([Path(path) for path in paths], dtype=object),
    "pandas column": pandas_series,
    "pandas index": lambda paths: pytest.importorskip("pandas").Index(paths),
    "pandas categories": lambda paths: pandas_series(paths).astype("category"),
    "pandas array": lambda paths: pandas_series(paths).astype("string").array,
    "pandas bytes": lambda paths: pandas_series([Path(path).read_bytes() for path in paths]),
    "Arrow array": lambda paths: pytest.importorskip("pyarrow").array(paths),
    "Arrow chunks": lambda paths: pytest.importorskip("pyarrow").chunked_array([paths[:1], paths[1:]]),
    "open files": lambda paths: [Path(path).open("rb") for path in paths],  # noqa: SIM115
    "BytesIO": lambda paths: [io.BytesIO(Path(path).read_bytes()) for path in paths],
    "base64": lambda paths: [base64.b64encode(Path(path).read_bytes()).decode() for path in paths],
    "base64 bytes": lambda paths: [base64.b64encode(Path(path).read_bytes()) for path in paths],
    "base64 in lines": lambda paths: [base64.encodebytes(Path(path).read_bytes()).decode() for path in paths],
    "base64 for URLs": lambda paths: [
        base64.urlsafe_b64encode(Path(path).read_bytes()).decode().rstrip("=") for path in paths
    ],
    "data URLs": lambda paths: [
        "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode() for path in paths
    ],
    "PIL": lambda paths: [Image.open(path) for path in paths],
    "arrays": lambda paths: [pixels(colour) for colour in COLOURS],
    "one array": lambda paths: np.stack([pixels(colour) for colour in COLOURS]),
    "one float array": lambda paths: np.stack([pixels(colour) for colour in COLOURS]) / 255,
    "tensors": lambda paths: [chw(colour) for colour in COLOURS],
    "one tensor": lambda paths: torch.stack([chw(colour) for colour in COLOURS]),
    "float tensors": lambda paths: [chw(colour) / 255 for colour in COLOURS],
    "half tensors": lambda paths: [(chw(colour) / 255).to(torch.bfloat16) for colour in COLOURS],
    "with gradient": lambda paths: [(chw(colour) / 255).requires_grad_() for colour in COLOURS],
    "rows": lambda paths: [{"image": path, "label": 1} for path in paths],
    "rows of a dataset": lambda paths: [dataset()[row] for row in range(3)],
    "slice of a dataset": lambda paths: dataset()[:8],
    "slice as arrays": lambda paths: dataset().with_format("numpy")[:],
    "webdataset samples": lambda paths: [
        {"__key__": path, "png": Path(path).read_bytes(), "cls": 1} for path in paths
    ],
    "sources": lambda paths: [ImageSource(path, Path(path)) for path in paths],
}


@pytest.mark.parametrize("form", MANY)
def test_every_form_of_several_images(form: str, paths: list[str]) -> None:
    found = colours(MANY[form](paths))
    assert np.allclose(found, COLOURS, atol=1)


@pytest.mark.parametrize("form", MANY)
def test_every_form_reaches_predict(form: str, paths: list[str], clip: Encoder) -> None:
    made = vlcls.build_classifier(["cat", "dog"], clip, cache=False)
    results = made.predict(MANY[form](paths), cache=False)
    assert len(results) == 3 and [result.error for result in results] == [None] * 3


ONE: dict[str, Callable[[list[str]], Any]] = {
    "path": lambda paths: paths[1],
    "NumPy text": lambda paths: np.str_(paths[1]),
    "open file": lambda paths: Path(paths[1]).open("rb"),  # noqa: SIM115
    "written BytesIO": lambda paths: _written(COLOURS[1]),
    "bytearray": lambda paths: bytearray(png(COLOURS[1])),
    "base64": lambda paths: base64.b64encode(png(COLOURS[1], "BMP")).decode(),
    "data URL": lambda paths: "data:image/png;base64," + base64.b64encode(png(COLOURS[1])).decode(),
    "row of a dataset": lambda paths: dataset()[1],
    "undecoded": lambda paths: {"bytes": png(COLOURS[1]), "path": None},
    "tensor": lambda paths: chw(COLOURS[1]),
    "array": lambda paths: pixels(COLOURS[1]),
    "scalar array": lambda paths: np.array(paths[1]),
}


def _written(colour: tuple[int, int, int]) -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", (12, 8), colour).save(file, "PNG")  # leaves the file at its end
    return file


@pytest.mark.parametrize("form", ONE)
def test_every_form_of_one_image(form: str, paths: list[str]) -> None:
    assert colours(ONE[form](paths)) == [COLOURS[1]]


def test_missing_values_are_images_that_cannot_be_read(paths: list[str]) -> None:
    pandas = pytest.importorskip("pandas")
    for column in (
        [paths[0], None],
        pandas.Series([paths[0], float("nan")]),
        pandas.array([paths[0], pandas.NA]),
    ):
        first, second = as_sources(column)
        assert first.name == paths[0]
        with pytest.raises(ImageError, match="image 1: no image in this row"):
            load_source(second)


def test_open_files_are_read_to_their_end_whatever_their_place(paths: list[str]) -> None:
    with Path(paths[2]).open("rb") as file:
        file.seek(5)
        assert colours([file]) == [COLOURS[2]]


class _Broken(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise OSError("the server has left")


def _tables() -> dict[str, Any]:
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    return {"pandas": pandas.DataFrame({"path": ["a"]}), "arrow": arrow.table({"path": ["a"]})}


#: What is no image, and a word of what is said.
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "number": (lambda: 5, "builtins.int"),
    "class": (lambda: Image.Image, "PIL.Image.Image"),
    "set": (lambda: {"a.png", "b.png"}, "a set of images has no order"),
    "frozenset": (lambda: frozenset(["a.png"]), "a set of images has no order"),
    "nested lists": (lambda: [["a.png", "b.png"], ["c.png"]], "image 0: a list of str is not one image"),
    "lists of numbers": (lambda: [[0.1, 0.2], [0.3, 0.4]], "of embeddings, one Tensor"),
    "pairs with labels": (lambda: [(Image.new("RGB", (3, 3)), 1)], "a tuple of Image, int"),
    "an image and its label": (lambda: (Image.new("RGB", (3, 3)), 1), "image 1: cannot read an image"),
    "data frame": (lambda: _tables()["pandas"], "table['path']"),
    "Arrow table": (lambda: _tables()["arrow"], "table['path']"),
    "text file": (lambda: io.StringIO("a.png\nb.png"), "open for text"),
    "file that breaks": (_Broken, "the server has left"),
    "row without image": (lambda: {"label": 3, "text": "x"}, "no images among its fields ('label', 'text')"),
    "row of two": (
        lambda: {"image": Image.new("L", (3, 3)), "mask": Image.new("L", (3, 3))},
        "2 images among its fields ('image', 'mask')",
    ),
    "meta tensor": (lambda: torch.zeros(3, 4, 4, device="meta"), "without data (meta)"),
    "sparse tensor": (lambda: torch.zeros(3, 4, 4).to_sparse(), "sparse"),
    "complex tensor": (lambda: torch.zeros(3, 4, 4, dtype=torch.complex64), "complex"),
    "channels last": (lambda: torch.zeros(8, 9, 3), "permute(2, 0, 1)"),
    "one embedding": (lambda: [torch.zeros(16)], "torch.stack"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_image_is_refused_and_named(what: str) -> None:
    make, message = REFUSED[what]
    with pytest.raises(ImageError) as caught:
        as_sources(make())
    assert message in str(caught.value)


def test_damaged_base64_is_an_image_that_cannot_be_read() -> None:
    for text, message in (
        ("data:image/png;base64,%%%%", "damaged base64"),
        ("data:image/png,abc", "not base64"),
        ("data:image/png;base64," + "A" * 200_000, "not an image (150,000 bytes, all zero)"),
    ):
        (source,) = as_sources(text)
        with pytest.raises(ImageError, match="image 0: ") as caught:
            decode(load_source(source))
        assert message in str(caught.value)


def test_paths_are_not_taken_for_base64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("QkZolder/" + "a" * 60, "iVBORw0KGgo/" + "b" * 60 + ".png", "9j/" + "photo" * 20 + ".jpg"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_bytes(png(COLOURS[0]))
        assert colours(path) == [COLOURS[0]]


# ---- pixels or embeddings ------------------------------------------------------------------------------


def test_which_arrays_are_embeddings(clip: Encoder) -> None:
    made = vlcls.build_classifier(["cat", "dog"], clip, cache=False)
    width = clip.embedding_dim
    rows = np.random.default_rng(0).random((5, width)).astype(np.float32)
    (expected,) = made.predict(torch.from_numpy(rows[:1]))
    assert made.predict(torch.from_numpy(rows), cache=False)[0].score == pytest.approx(expected.score)
    with pytest.raises(EmbeddingError, match=r"could be embeddings as well as one grey image.*from_numpy"):
        made.predict(rows, cache=False)
    (grey,) = made.predict(rows[:, :, None], cache=False)  # its channels say that it is an image
    assert grey.image == "image 0" and grey.error is None
    (grey,) = made.predict(np.zeros((20, width + 1), np.float32), cache=False)
    assert grey.image == "image 0" and grey.error is None
    (grey,) = made.predict(torch.zeros(20, width, dtype=torch.uint8), cache=False)
    assert grey.image == "image 0" and grey.error is None
    (outside,) = made.predict(torch.randn(3, 40, 40), cache=False)  # preprocessed already
    assert "floats must be in [0, 1]" in str(outside.error)


def test_without_an_encoder_all_is_embeddings_but_paths() -> None:
    made = vlcls.classifier_from_embeddings(["a", "b"], np.eye(2))
    for rows in ([[1.0, 0.0]], np.array([[1, 0]]), torch.tensor([[1.0, 0.0]])):
        assert made.predict(rows)[0].label == "a"
    for wrong in ("photos/", ["a.png"], Path("a.png"), b"x"):
        with pytest.raises(EncoderError, match="has no encoder"):
            made.predict(wrong)


ODD_TENSORS = {
    "meta": torch.zeros(2, 2, device="meta"),
    "sparse": torch.eye(2).to_sparse(),
    "complex": torch.eye(2, dtype=torch.complex64),
}


@pytest.mark.parametrize("kind", ODD_TENSORS)
def test_odd_tensors_are_no_embeddings(kind: str) -> None:
    made = vlcls.classifier_from_embeddings(["a", "b"], np.eye(2))
    for call in (made.scores, made.predict, lambda rows: vlcls.classifier_from_embeddings(["a", "b"], rows)):
        with pytest.raises(EmbeddingError, match=kind):
            call(ODD_TENSORS[kind])


@pytest.mark.parametrize(
    "wrong",
    [None, "text", [["1", "2"]], [[1, 2], [3]], [[None, 1]], [[10**400, 1]], np.eye(2) * 1j, object()],
)
def test_other_things_are_no_embeddings(wrong: Any) -> None:
    made = vlcls.classifier_from_embeddings(["a", "b"], np.eye(2))
    with pytest.raises(EmbeddingError, match="embeddings"):
        made.scores(wrong)


# ---- labels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [set, frozenset])
def test_a_set_of_labels_has_no_order(kind: Callable[[list[str]], Any]) -> None:
    with pytest.raises(LabelError, match=r"order changes with each run: sorted"):
        vlcls.classifier_from_embeddings(kind(["cat", "dog"]), np.eye(2))


def test_labels_of_columns_and_keys() -> None:
    pandas = pytest.importorskip("pandas")
    for labels in (
        pandas.Series(["cat", "dog"]), np.array(["cat", "dog"]), {"cat": 1, "dog": 2}.keys(),
        (name for name in ("cat", "dog")),
    ):  # fmt: skip
        assert vlcls.classifier_from_embeddings(labels, np.eye(2)).labels.names == ("cat", "dog")


# ---- messages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["A" * 200_000, "a b " * 50_000, "line\n" * 40_000, "x" * 70 + "\n" + "y" * 200_000], ids=len
)
def test_long_values_are_cut_in_every_error_and_warning(value: str) -> None:
    import inspect

    from vlcls import errors

    kinds = [
        each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == "vlcls.errors"
    ]
    assert len(kinds) > 10
    for kind in kinds:
        if kind is not errors.MissingExtraError:
            message = str(kind(f"file.json: {value!s} is no number"))
            assert len(message) < 6000 and message.startswith("file.json: ") and "characters" in message
    assert str(errors.VlclsError("a short one: " + "x" * 300)) == "a short one: " + "x" * 300


def test_long_values_are_cut_where_they_come_from(clip: Encoder) -> None:
    text = "B" * 200_000
    made = vlcls.build_classifier(["cat", "dog"], clip, cache=False)
    (result,) = made.predict([text], cache=False)
    assert result.error and len(result.error) < 2000
    for call in (
        lambda: vlcls.Labels((text, text), (text, text)),
        lambda: vlcls.load_encoder(text),
        lambda: vlcls.build_classifier(["cat"], clip, text),
    ):
        with pytest.raises(vlcls.VlclsError) as caught:
            call()
        assert len(str(caught.value)) < 6000


def test_an_empty_text_is_not_the_current_folder(paths: list[str]) -> None:
    assert [source.data for source in as_sources(["", paths[0], " "])][::2] == [None, None]
    assert len(as_sources("")) == 1
    with pytest.raises(ImageError, match="an empty path"):
        find_images([""])
