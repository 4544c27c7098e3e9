"""Images in folders by their labels, and back again."""

from __future__ import annotations

import base64
import io
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sorted_trees import broken, labelled, make_photos, plain, snapshot

from vlcls.errors import ArgumentError, OutputError, VlclsWarning
from vlcls.image_sources import find_images
from vlcls.results.manifest import MANIFEST
from vlcls.results.sorting import Sorter, sort_into
from vlcls.results.unsorting import unsort

WAYS = ("copy", "link", "move")


@pytest.fixture
def photos(tmp_path: Path) -> tuple[list[Path], list[Any]]:
    return make_photos(tmp_path / "photos")


def images_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}


EXPECTED = {
    "dog/1.jpg", "dog/1 (2).jpg", "dog/1 (3).jpg", "cat/2.jpg", "cat/1.jpg", "none of these/3.jpg",
    "unreadable/empty.jpg",
}  # fmt: skip


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("place", ["sorted", "x/y/z", "photos/sorted", "photos"])
def test_every_image_in_the_folder_of_each_label_and_back_byte_for_byte(
    photos: Any, tmp_path: Path, how: Any, place: str
) -> None:
    paths, results = photos
    before = snapshot(tmp_path)
    contents = {path: path.read_bytes() for path in paths}
    target = tmp_path / place
    done = sort_into(results, paths, target, how)
    assert done.placed == {
        "dog": 3, "cat": 2, "a_b ~c14cddc0": 1, "none of these": 1, "none of these ~d2c0b4ac": 1,
        "unreadable": 1,
    } or done.placed.total() == 9  # fmt: skip
    there = images_in(target)
    assert there >= EXPECTED
    marked = {name.partition(" ~")[0] for name in there if " ~" in name}
    assert marked == {"a_b", "none of these"}
    assert (target / "dog/1.jpg").read_bytes() == contents[paths[0]]
    assert (target / "dog/1 (2).jpg").read_bytes() == contents[paths[2]]
    assert (target / "cat/1.jpg").read_bytes() == contents[paths[2]]
    assert (target / "unreadable/empty.jpg").read_bytes() == b""
    assert (target / "dog/1.jpg").is_symlink() == (how == "link")
    assert (target / "cat/1.jpg").is_symlink() == (how != "copy")
    assert all(path.exists() == (how != "move") for path in paths)
    if how != "link":
        assert (target / "dog/1.jpg").stat().st_mtime_ns == 10**18
    undone = unsort(target)
    assert not undone.left and (undone.restored, undone.removed) == {
        "copy": (0, 9), "link": (0, 9), "move": (7, 2)
    }[how]  # fmt: skip
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("how", WAYS)
def test_a_second_run_doubles_nothing(photos: Any, tmp_path: Path, how: Any) -> None:
    paths, results = photos
    before = snapshot(tmp_path)
    sort_into(results, paths, tmp_path / "sorted", how)
    there = snapshot(tmp_path / "sorted", [MANIFEST])
    if how == "move":
        with ExitStack() as stack, pytest.warns(VlclsWarning, match="7 of the images were sorted into it"):
            sources = find_images([*paths])
            assert Sorter(tmp_path / "sorted", how, stack).unsorted(sources) == []
    else:
        done = sort_into(results, paths, tmp_path / "sorted", how)
        assert (done.already, done.placed.total(), done.left) == (7, 0, [])
    assert snapshot(tmp_path / "sorted", [MANIFEST]) == there
    unsort(tmp_path / "sorted")
    assert snapshot(tmp_path) == before


def test_an_image_that_changed_is_placed_again_beside_the_old_one(photos: Any, tmp_path: Path) -> None:
    paths, results = photos
    sort_into(results, paths, tmp_path / "sorted")
    paths[3].write_bytes(b"another")
    assert sort_into(results, paths, tmp_path / "sorted").placed == {"none of these": 1}
    assert (tmp_path / "sorted/none of these/3 (2).jpg").read_bytes() == b"another"
    (tmp_path / "sorted/none of these/3.jpg").unlink()
    assert sort_into(results, paths, tmp_path / "sorted").placed.total() == 0


def test_another_run_with_other_labels_says_so(photos: Any, tmp_path: Path) -> None:
    paths, _ = photos
    sort_into([plain(paths[0], "dog")], paths[:1], tmp_path / "sorted")
    done = sort_into([plain(paths[0], "wolf")], paths[:1], tmp_path / "sorted")
    assert (done.elsewhere, done.already, done.placed) == (1, 0, {"wolf": 1})


def test_labels_that_differ_by_case_keep_folders_of_their_own(photos: Any, tmp_path: Path) -> None:
    paths, _ = photos
    sort_into([plain(paths[0], "Dog"), plain(paths[1], "dog")], paths[:2], tmp_path / "sorted")
    sort_into([plain(paths[2], "dog"), plain(paths[3], "Dog")], paths[2:4], tmp_path / "sorted")
    names = {path.name.partition(" ~")[0]: {each.name for each in path.iterdir()}
             for path in (tmp_path / "sorted").iterdir() if path.is_dir()}  # fmt: skip
    assert names == {"Dog": {"1.jpg", "3.jpg"}, "dog": {"2.jpg", "1.jpg"}}


@pytest.mark.parametrize("how", WAYS)
def test_what_lay_there_is_neither_overwritten_nor_removed(photos: Any, tmp_path: Path, how: Any) -> None:
    paths, results = photos
    own = tmp_path / "sorted" / "dog" / "1.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    before = snapshot(tmp_path)
    sort_into(results, paths, tmp_path / "sorted", how)
    assert own.read_bytes() == b"mine" and (own.parent / "1 (4).jpg").exists()
    unsort(tmp_path / "sorted")
    assert snapshot(tmp_path) == before


def test_what_somebody_changed_since_is_left_and_named(photos: Any, tmp_path: Path) -> None:
    paths, results = photos
    target = tmp_path / "sorted"
    sort_into(results, paths, target, "copy")
    (target / "dog/1.jpg").chmod(0o644)
    (target / "dog/1.jpg").write_bytes(b"edited")
    (target / "cat/2.jpg").rename(target / "dog/mine.jpg")
    (target / "unreadable/note.txt").write_text("mine")
    done = unsort(target)
    assert done.left == [f"{target}/dog/1.jpg: changed since it was placed"] and not done.kept
    assert images_in(target) == {"dog/1.jpg", "dog/mine.jpg", "unreadable/note.txt"}
    assert not (target / MANIFEST).exists()


def test_a_moved_image_that_cannot_go_back_is_not_forgotten(photos: Any, tmp_path: Path) -> None:
    paths, results = photos
    before = snapshot(tmp_path)
    target = tmp_path / "sorted"
    sort_into(results, paths, target, "move")
    paths[0].write_bytes(b"new")
    (target / "none of these/3.jpg").chmod(0o644)
    kept = (target / "none of these/3.jpg").read_bytes()
    (target / "none of these/3.jpg").write_bytes(b"edited")
    (target / "unreadable/empty.jpg").rename(tmp_path / "elsewhere.jpg")
    done = unsort(target)
    assert done.kept and done.restored == 4
    assert done.left == [
        f"{target}/dog/1.jpg: its own place, {paths[0]}, is taken",
        f"{target}/none of these/3.jpg: changed since it was placed from {paths[3]}",
        f"{target}/unreadable/empty.jpg: not there any more; it came from {paths[6]}",
    ]
    assert paths[0].read_bytes() == b"new"
    paths[0].unlink()
    again = unsort(target)
    assert again.restored == 1 and len(again.left) == 1
    (target / "none of these/3.jpg").write_bytes(kept)
    (target / "none of these/3.jpg").chmod(before["photos/b/3.jpg"][2])
    os.utime(target / "none of these/3.jpg", ns=(0, before["photos/b/3.jpg"][1]))
    assert unsort(target).restored == 1
    (tmp_path / "elsewhere.jpg").rename(paths[6])
    assert snapshot(tmp_path) == before


def test_moving_what_was_copied_is_refused(photos: Any, tmp_path: Path) -> None:
    paths, results = photos
    sort_into(results, paths, tmp_path / "sorted")
    with pytest.raises(OutputError, match=r"was copied or linked into .*unsort"):
        sort_into(results, paths, tmp_path / "sorted", "move")
    assert all(path.exists() for path in paths)


def test_a_link_is_not_moved_but_linked(tmp_path: Path) -> None:
    paths, _ = make_photos(tmp_path / "photos")
    link = tmp_path / "photos" / "link.jpg"
    link.symlink_to("a/1.jpg")
    before = snapshot(tmp_path)
    sort_into([plain(link, "dog")], [link], tmp_path / "sorted", "move")
    assert link.is_symlink() and (tmp_path / "sorted/dog/link.jpg").read_bytes() == paths[0].read_bytes()
    unsort(tmp_path / "sorted")
    assert snapshot(tmp_path) == before


def test_names_that_are_no_text_and_names_as_long_as_can_be(tmp_path: Path) -> None:
    (tmp_path / "photos/b").mkdir(parents=True)
    names = [
        os.fsencode(tmp_path / "photos") + b"/" + name for name in (b"\xff\xfe.jpg", b"x" * 251 + b".jpg")
    ]
    paths = [Path(os.fsdecode(name)) for name in names] + [tmp_path / "photos/b" / ("x" * 251 + ".jpg")]
    for path in paths:
        path.write_bytes(os.fsencode(path))
    before = snapshot(tmp_path)
    for how in WAYS:
        done = sort_into([plain(path, "犬") for path in paths], paths, tmp_path / "sorted", how)  # type: ignore[arg-type]
        assert done.placed == {"犬": 3} and not done.left
        assert (tmp_path / "sorted/犬" / ("x" * 247 + " (2).jpg")).exists()
        unsort(tmp_path / "sorted")
        assert snapshot(tmp_path) == before


def test_what_is_no_file_any_more_is_named_and_stops_nothing(tmp_path: Path) -> None:
    paths, _ = make_photos(tmp_path / "photos")
    os.mkfifo(tmp_path / "pipe.jpg")
    there = [tmp_path / "gone.jpg", tmp_path / "pipe.jpg", tmp_path / "photos", paths[0]]
    results = [broken(there[0]), broken(there[1]), broken(there[2]), plain(paths[0], "dog")]
    with ExitStack() as stack:
        sorter = Sorter(tmp_path / "sorted", "copy", stack)
        from vlcls.image_sources import ImageSource

        for result, path in zip(results, there, strict=True):
            sorter.place(result, ImageSource(str(path), path))
    assert sorter.done.placed == {"dog": 1}
    assert [each.split(": ")[1] for each in sorter.done.left] == [
        "No such file or directory", "not a regular file", "not a regular file"
    ]  # fmt: skip
    assert {path.name for path in (tmp_path / "sorted").iterdir()} == {"dog", MANIFEST}


# ---- images in memory ----------------------------------------------------------------------------------


def test_images_in_memory_are_written_out(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    file = io.BytesIO()
    picture.save(file, "JPEG")
    whole = file.getvalue()
    images = [whole, picture, base64.b64encode(whole).decode(), np.zeros((4, 4), np.uint8), None]
    results = [*(plain(f"image {n}", "dog") for n in range(4)), broken("image 4")]
    for run in range(2):
        done = sort_into(results, images, tmp_path / "sorted")
        assert (done.placed.total(), done.already, len(done.left)) == ((4, 0, 1), (0, 4, 1))[run]
    folder = tmp_path / "sorted" / "dog"
    assert images_in(folder) == {"image 0.jpg", "image 1.png", "image 2.jpg", "image 3.png"}
    assert (folder / "image 0.jpg").read_bytes() == (folder / "image 2.jpg").read_bytes() == whole
    assert np.array_equal(np.asarray(Image.open(folder / "image 1.png")), np.asarray(picture))
    assert unsort(tmp_path / "sorted").removed == 4 and not (tmp_path / "sorted").exists()


@pytest.mark.parametrize("how", ["link", "move"])
def test_images_in_memory_are_no_files_to_link_or_move(tmp_path: Path, how: Any) -> None:
    with pytest.raises(OutputError, match="image 0 is no file of its own: it can be copied"):
        sort_into([plain("image 0", "dog")], [np.zeros((4, 4), np.uint8)], tmp_path / "sorted", how)
    assert list(tmp_path.iterdir()) == []


def test_arguments_are_checked(photos: Any, tmp_path: Path) -> None:
    paths, results = photos
    with pytest.raises(ArgumentError, match=r"how takes copy, link or move, .*hardlink"):
        sort_into(results, paths, tmp_path / "sorted", "hardlink")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="results takes Classifications, not str"):
        sort_into(["dog"], paths[:1], tmp_path / "sorted")  # type: ignore[list-item]
    with pytest.raises(ArgumentError, match="0 results of 1 images"):
        sort_into([], paths[:1], tmp_path / "sorted")
    assert not (tmp_path / "sorted").exists()
    with pytest.raises(ArgumentError, match="more results than the 1 images"):
        sort_into(results, paths[:1], tmp_path / "sorted")
    with pytest.raises(OutputError, match="nothing was sorted into it"):
        unsort(tmp_path / "photos")


# ---- folders in one another ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("place", ["photos/sorted", "photos"])
def test_what_was_sorted_is_not_sorted_again(tmp_path: Path, how: Any, place: str) -> None:
    make_photos(tmp_path / "photos")
    before = snapshot(tmp_path)
    sizes = []
    for _ in range(3):
        with ExitStack() as stack:
            sorter = Sorter(tmp_path / place, how, stack)
            found = find_images([tmp_path / "photos"])
            if sizes:
                with pytest.warns(VlclsWarning, match="sorted into it by an earlier run"):
                    sources = sorter.unsorted(found)
            else:
                sources = sorter.unsorted(found)
            for source in sources:
                sorter.place(labelled(source.name, "dog", "cat"), source)
        sizes.append(snapshot(tmp_path, [MANIFEST]).keys())
    assert sizes[0] == sizes[1] == sizes[2]
    unsort(tmp_path / place)
    assert snapshot(tmp_path) == before


def test_an_image_that_somebody_put_right_by_hand_is_not_sorted_again(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos")
    target = tmp_path / "photos" / "sorted"
    sources = find_images([tmp_path / "photos"])
    sort_into([plain(each.name, "dog" if n else "cat") for n, each in enumerate(sources)], sources, target)
    (target / "dog/2.jpg").rename(target / "cat/2.jpg")
    with ExitStack() as stack, pytest.warns(VlclsWarning, match="7 of the images"):
        assert len(Sorter(target, "copy", stack).unsorted(find_images([tmp_path / "photos"]))) == 7
