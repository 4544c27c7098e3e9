"""Images with known classes: which folder or row is which class, and what is said if it is none."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlcls.errors import ImageError, LabelError
from vlcls.labelled import class_places, embed_labelled, labelled_dataset, labelled_folder
from vlcls.labels import Labels, as_labels
from vlcls.store import EmbeddingStore


@pytest.fixture
def folder(tmp_path, picture):
    """`folder("cat/1.png", ...)`: a folder with these images, each different."""

    def make(*names):
        for number, name in enumerate(names):
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(number).save(path)
        return tmp_path / "data"

    return make


def classes(images):
    return [images.labels.names[index] for index in images.class_indices]


def test_folders_of_classes_in_the_order_of_the_labels(folder):
    root = folder("Red_Panda/2.png", "Red_Panda/10.png", "n02123045/a.png", "DOG/deep/er/b.png")
    labels = Labels(("cat", "dog", "red panda", "lynx"), ("n02123045", "d", "r", "l"))
    images = labelled_folder(root, labels)
    assert images.labels is labels and images.groups == {} and len(images) == 4
    found = {source.data.name: name for source, name in zip(images.sources, classes(images), strict=True)}
    assert found == {"2.png": "red panda", "10.png": "red panda", "a.png": "cat", "b.png": "dog"}


def test_folders_are_classes_if_there_are_no_labels(folder):
    images = labelled_folder(str(folder("red_panda/1.png", "cat/1.png", "cat/2.png")))
    assert images.labels == Labels(("cat", "red panda"), ("cat", "red_panda"))
    assert classes(images) == ["cat", "cat", "red panda"]


@pytest.mark.parametrize("labels", [None, ["cat", "dog"]])
def test_groups_are_the_upper_folders(folder, labels):
    images = labelled_folder(folder("photo/cat/1.png", "photo/dog/1.png", "sketch/dog/1.png"), labels)
    assert classes(images) == ["cat", "dog", "dog"]
    assert images.groups == {"group": ("photo", "photo", "sketch")}


def test_labels_decide_which_level_is_the_class(folder):
    root = folder("cat/photo/1.png", "dog/sketch/1.png", "dog/photo/1.png")
    images = labelled_folder(root, ["dog", "cat"])
    assert images.groups == {} and sorted(classes(images)) == ["cat", "dog", "dog"]


def test_folders_that_are_no_class_are_named(folder):
    root = folder("cat/1.png", "lynx/1.png", "wolf/1.png")
    with pytest.raises(
        LabelError, match=r"data: not among the labels: 'lynx', 'wolf'. The labels are 'cat', 'd"
    ):
        labelled_folder(root, ["cat", "dog"])
    grouped = folder("photo/cat/1.png") / "photo"
    folder("sketch/wolf/1.png")
    assert len(labelled_folder(grouped, ["cat"])) == 1


def test_an_unknown_class_among_groups_is_named(folder):
    root = folder("photo/cat/1.png", "photo/dog/1.png", "sketch/wolf/1.png")
    with pytest.raises(LabelError, match="labels: 'wolf'"):
        labelled_folder(root, ["cat", "dog"])


def test_folders_that_make_no_sense(folder, tmp_path):
    with pytest.raises(ImageError, match="no such folder"):
        labelled_folder(tmp_path / "nowhere")
    (tmp_path / "data").mkdir()
    with pytest.raises(ImageError, match="no image"):
        labelled_folder(tmp_path / "data")
    root = folder("cat/1.png", "photo/dog/1.png")
    with pytest.raises(ImageError, match="1 and 2 folders deep"):
        labelled_folder(root)
    root = folder("stray.png")
    with pytest.raises(ImageError, match=r"stray\.png is in no class folder"):
        labelled_folder(root, ["cat"])


def test_names_of_several_classes_need_ids():
    labels = Labels(("crane", "crane", "owl"), ("bird", "machine", "owl"))
    assert class_places(["bird", "machine", "OWL"], labels, "x") == {"bird": 0, "machine": 1, "OWL": 2}
    assert class_places(["crane (machine)"], labels, "x") == {"crane (machine)": 1}
    with pytest.raises(LabelError, match=r"x: 'crane' is the name of 2 classes.*bird, machine"):
        class_places(["crane"], labels, "x")
    with pytest.raises(LabelError, match=r"'0', .*'9', \.\.\."):
        class_places(map(str, range(20)), labels, "x")


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, unique=True))
def test_every_id_is_found_whatever_it_is(names):
    try:
        labels = as_labels(dict.fromkeys(names, "same"))
    except LabelError:
        return
    assert class_places(names, labels, "x") == {name: place for place, name in enumerate(names)}


# ---- data sets -----------------------------------------------------------------------------------------


@pytest.fixture
def dataset(picture):
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "red_panda", "owl"]),
            "text": datasets.Value("string"),
            "number": datasets.Value("int64"),
            "place": datasets.Value("string"),
        }
    )
    rows = {
        "image": [picture(number) for number in range(4)],
        "label": [1, 0, 0, 1],
        "text": ["Red Panda", "cat", "cat", "Red Panda"],
        "number": [0, 2, 1, 0],
        "place": ["zoo", "home", "zoo", "zoo"],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def test_columns_of_a_data_set(dataset):
    images = labelled_dataset(dataset, ["owl", "red panda", "cat"], group_columns=["place"])
    assert images.class_indices == (1, 2, 2, 1)
    assert images.groups == {"place": ("zoo", "home", "zoo", "zoo")}
    assert [source.name for source in images.sources] == [f"image {row}" for row in range(4)]
    assert labelled_dataset(dataset).labels.names == ("cat", "red panda", "owl")
    by_text = labelled_dataset(dataset, label_column="text")
    assert classes(by_text) == ["Red Panda", "cat", "cat", "Red Panda"]
    assert labelled_dataset(dataset, ["a", "b", "c"], label_column="number").class_indices == (0, 2, 1, 0)


def test_data_sets_that_do_not_fit(dataset):
    with pytest.raises(ImageError, match="no column 'nope'; it has image, label"):
        labelled_dataset(dataset, group_columns=["nope"])
    with pytest.raises(LabelError, match="column 'label': not among the labels: 'red_panda'"):
        labelled_dataset(dataset, ["cat", "dog"])
    with pytest.raises(LabelError, match=r"'number': row 1 has the label 2, and there are 2 labels"):
        labelled_dataset(dataset, ["a", "b"], label_column="number")
    hidden = dataset.map(lambda row, i: {"label": -1 if i == 2 else row["label"]}, with_indices=True)
    with pytest.raises(LabelError, match=r"the data set, column 'label': row 2 has no class \(1 such"):
        labelled_dataset(hidden)


# ---- embeddings ----------------------------------------------------------------------------------------


def test_embeddings_of_those_that_can_be_read(folder, clip, tmp_path):
    names = [f"{group}/{name}/{n}.png" for group in ("a", "b") for name in ("cat", "dog") for n in range(5)]
    root = folder(*names)
    bad = [root / "a/cat/3.png", root / "b/dog/0.png"]
    for path in bad:
        path.write_text("no image")
    images, done = labelled_folder(root, ["dog", "cat"]), []
    store = EmbeddingStore(tmp_path / "store")
    found = embed_labelled(images, clip, store=store, progress=done.append, batch_size=4)
    assert len(images) == sum(done) == 20 and len(found) == 18
    assert list(found.errors) == [str(path) for path in bad]
    kept = [name for name in names if root / name not in bad]
    assert found.names == tuple(str(root / name) for name in kept)
    assert found.class_indices.tolist() == [int("cat" in name) for name in kept]
    assert found.groups["group"] == tuple(name[0] for name in kept)
    assert found.embeddings.shape == (18, clip.embedding_dim)
    assert torch.allclose(found.embeddings.norm(dim=1), torch.ones(18), atol=1e-5)
    alone = embed_labelled(labelled_folder(root / "b", ["dog", "cat"]), clip)
    assert torch.allclose(alone.embeddings, found.embeddings[9:], atol=1e-5)
    for path in root.rglob("*.png"):
        path.write_text("no image")
    with pytest.raises(ImageError, match="none of 20 images can be read"):
        embed_labelled(images, clip)
