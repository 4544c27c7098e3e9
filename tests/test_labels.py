"""Class names: parsing, cleaning, files, and errors that say which label and where."""

from __future__ import annotations

import json
import re
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlcls.errors import LabelError
from vlcls.labels import Labels, as_labels, clean_name, parse_labels, read_labels

# Characters that any label may have; half of a surrogate pair is not a character.
CHARACTERS = st.characters(exclude_categories=["Cs"])
NAMES = st.text(CHARACTERS, min_size=1, max_size=12).filter(lambda name: bool(name.strip()))
# What a file with one name a line can hold: names that look like no list, table, comment or heading.
LINE_NAMES = NAMES.filter(
    lambda name: name[0].isalpha() and name[-1].isalpha() and not re.search('[\\t\\n\\r,;|"\\0]', name)
).filter(
    lambda name: name.casefold() not in ("id", "name", "names", "index", "class", "label", "title", "number")
)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---- names in Python -----------------------------------------------------------------------------------


def test_names_are_their_own_ids():
    labels = as_labels(["cat", "dog"])
    assert labels == Labels(("cat", "dog"), ("cat", "dog"))
    assert len(labels) == 2
    assert labels.reported == ("cat", "dog")


def test_labels_pass_through_unchanged():
    labels = Labels(("hot_dog",), ("hot_dog",))
    assert as_labels(labels) is labels


def test_generators_are_read_once_in_order():
    assert as_labels(name for name in "cab").names == ("c", "a", "b")


def test_cleaning_replaces_underscores_and_white_space_and_composes():
    decomposed = "cafe\u0301"
    assert as_labels(["  hot_dog\t\n stand ", decomposed]).names == ("hot dog stand", "caf\u00e9")


def test_cleaning_can_be_turned_off():
    raw = ["  hot_dog  stand ", "cafe\u0301"]
    assert list(as_labels(raw, clean=False).names) == raw


def test_ids_are_never_cleaned():
    labels = as_labels({"n_01": "hot_dog"})
    assert (labels.ids, labels.names) == (("n_01",), ("hot dog",))


@given(st.text(CHARACTERS))
def test_clean_names_stay_clean(name: str):
    clean = clean_name(name)
    assert clean_name(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert "_" not in clean and "  " not in clean and clean == clean.strip()
    assert clean_name(unicodedata.normalize("NFD", name)) == clean_name(unicodedata.normalize("NFC", name))


def test_characters_are_composed_and_not_replaced():
    assert clean_name("cafe\u0301 \ufb01sh \u00bd") == "caf\u00e9 \ufb01sh \u00bd"


@pytest.mark.parametrize("text", ['cat,"dog', '"cat', '"cat"s,dog'])
def test_a_quote_that_is_not_closed_is_refused(text: str):
    with pytest.raises(LabelError, match="labels"):
        parse_labels(text)


def test_no_labels_is_an_error():
    with pytest.raises(LabelError, match="empty"):
        as_labels([])


@pytest.mark.parametrize("blank", ["", "  ", "_", "\u00a0\t"])
def test_blank_names_are_errors_that_say_which(blank: str):
    with pytest.raises(LabelError, match="label 2 of 3 is blank"):
        as_labels(["cat", blank, "dog"])


def test_blank_ids_are_errors():
    with pytest.raises(LabelError, match="label 2 of 2 is blank"):
        as_labels({"a": "cat", " ": "dog"})


def test_repeated_names_are_errors_that_name_label_and_places():
    with pytest.raises(LabelError, match=r"'sunglasses' is there twice \(places 2 and 4\).*distinct ids"):
        as_labels(["cat", "sunglasses", "dog", "sunglasses"])


def test_names_that_cleaning_makes_equal_are_repeated():
    with pytest.raises(LabelError, match=r"'hot dog'.*places 1 and 2"):
        as_labels(["hot_dog", "hot dog"])
    assert len(as_labels(["hot_dog", "hot dog"], clean=False)) == 2


def test_two_classes_share_a_name_when_their_ids_differ():
    labels = as_labels({"n04355933": "sunglasses", "n02123": "cat", "n04356056": "sunglasses"})
    assert labels.names == ("sunglasses", "cat", "sunglasses")
    assert labels.ids == ("n04355933", "n02123", "n04356056")
    assert labels.reported == ("sunglasses (n04355933)", "cat", "sunglasses (n04356056)")


def test_as_many_ids_as_names():
    with pytest.raises(LabelError, match="2 names but 1 ids"):
        Labels(("cat", "dog"), ("a",))


def test_a_table_is_not_a_list_of_its_headings():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"name": ["cat", "dog"]})
    with pytest.raises(LabelError, match="not DataFrame: pass one of its columns"):
        as_labels(table)
    assert as_labels(table["name"]).names == ("cat", "dog")


def test_one_string_is_not_a_list_of_letters():
    with pytest.raises(LabelError, match=r"\['cat', 'dog'\]"):
        as_labels("cat,dog")


@pytest.mark.parametrize("labels", [["cat", 3], ["cat", None], {"a": "cat", "b": 3}, {"a": None}])
def test_labels_that_are_not_text_are_errors(labels: object):
    with pytest.raises(LabelError, match="must be text"):
        as_labels(labels)  # type: ignore[arg-type]


# ---- the command line's list ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cat,dog", ("cat", "dog")),
        (" cat , dog ", ("cat", "dog")),
        ("cat,dog,", ("cat", "dog")),
        ('"kite, a bird",kite', ("kite, a bird", "kite")),
        ('cat, "kite, a bird"', ("cat", "kite, a bird")),
        ("hot_dog", ("hot dog",)),
    ],
)
def test_parse(text: str, names: tuple[str, ...]):
    assert parse_labels(text).names == names


def test_parse_without_cleaning():
    assert parse_labels("hot_dog,cat", clean=False).names == ("hot_dog", "cat")


@pytest.mark.parametrize("text", ["", "  ", ","])
def test_parse_nothing(text: str):
    with pytest.raises(LabelError):
        parse_labels(text)


def test_parse_names_the_blank_in_the_middle():
    with pytest.raises(LabelError, match="label 2 of 3 is blank"):
        parse_labels("cat,,dog")


@given(st.text(CHARACTERS) | st.text('a,"\r\n\t '))
def test_parse_raises_label_errors_only(text: str):
    try:
        labels = parse_labels(text)
    except LabelError:
        return
    assert len(labels) >= 1


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\r"])
def test_parse_loses_no_line(separator: str):
    """`--labels "$(cat names.txt)"` must be understood or refused; half of it is neither."""
    try:
        labels = parse_labels(f"cat,dog{separator}horse")
    except LabelError:
        return
    assert "horse" in " ".join(labels.names)


@given(st.lists(NAMES.map(clean_name).filter(bool), min_size=1, unique=True))
def test_parse_round_trip(names: list[str]):
    quoted = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    assert list(parse_labels(quoted).names) == names


# ---- files ---------------------------------------------------------------------------------------------


def test_text_file(tmp_path: Path):
    path = write(tmp_path, "names.txt", "# animals\ncat\n\n  hot_dog \r\n  # more\ndog\n")
    assert read_labels(path).names == ("cat", "hot dog", "dog")
    assert read_labels(str(path)).ids == ("cat", "hot dog", "dog")


def test_text_file_without_cleaning(tmp_path: Path):
    assert read_labels(write(tmp_path, "names.txt", "hot_dog\n"), clean=False).names == ("hot_dog",)


def test_text_file_with_ids(tmp_path: Path):
    path = write(tmp_path, "names.tsv", "n1 \tsunglasses\ncat\nn_2\tsun_glasses\nn3\tsunglasses\n")
    labels = read_labels(path)
    assert labels.ids == ("n1", "cat", "n_2", "n3")
    assert labels.names == ("sunglasses", "cat", "sun glasses", "sunglasses")


@pytest.mark.parametrize("line", ["n1\t", "\tcat", "n1\t  "])
def test_half_a_line_is_an_error_with_its_number(tmp_path: Path, line: str):
    path = write(tmp_path, "names.txt", f"# first\ndog\n{line}\n")
    with pytest.raises(LabelError, match=r"names\.txt: line 3"):
        read_labels(path)


def test_json_list_and_object(tmp_path: Path):
    assert read_labels(write(tmp_path, "list.json", '["hot_dog", "cat"]')).names == ("hot dog", "cat")
    labels = read_labels(write(tmp_path, "object.JSON", '{"b": "cat", "a": "cat"}'))
    assert (labels.ids, labels.names) == (("b", "a"), ("cat", "cat"))


def test_a_repeated_json_key_would_lose_a_class(tmp_path: Path):
    path = write(tmp_path, "ids.json", '{"a": "cat", "b": "dog", "a": "horse"}')
    with pytest.raises(LabelError, match=r"ids\.json.*'a' is there twice") as caught:
        read_labels(path)
    assert "not JSON" not in str(caught.value)  # it is JSON: the message must not send people astray


@pytest.mark.parametrize("content", ["3", '"cat"', "null", "[1]", '{"a": 1}', "[[]]", "{", "", "[" * 100_000])
def test_json_of_another_shape(tmp_path: Path, content: str):
    with pytest.raises(LabelError, match=r"names\.json"):
        read_labels(write(tmp_path, "names.json", content))


@pytest.mark.parametrize("name", ["bom.txt", "bom.json"])
def test_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path, name: str):
    content = '["cat", "dog"]' if name.endswith("json") else "cat\ndog\n"
    assert read_labels(write(tmp_path, name, b"\xef\xbb\xbf" + content.encode())).names == ("cat", "dog")


def test_not_utf8(tmp_path: Path):
    with pytest.raises(LabelError, match=r"latin\.txt, line 2: not UTF-8"):
        read_labels(write(tmp_path, "latin.txt", "cat\ncafé\n".encode("latin-1")))


def test_missing_file_and_folder(tmp_path: Path):
    with pytest.raises(LabelError, match=r"none\.txt: No such file"):
        read_labels(tmp_path / "none.txt")
    with pytest.raises(LabelError, match="this is a folder"):
        read_labels(tmp_path)


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n"])
def test_file_without_labels(tmp_path: Path, content: str):
    with pytest.raises(LabelError, match=r"names\.txt: .*empty"):
        read_labels(write(tmp_path, "names.txt", content))


def test_repeat_in_a_file_names_the_file(tmp_path: Path):
    with pytest.raises(LabelError, match=r"names\.txt: label 'cat' is there twice"):
        read_labels(write(tmp_path, "names.txt", "cat\ndog\ncat\n"))


@given(
    st.binary(max_size=60) | st.text('"[]{},:\\u0123ab\t\n #', max_size=40).map(str.encode),
    st.sampled_from([".txt", ".json"]),
    st.booleans(),
)
def test_any_bytes_give_labels_or_a_label_error(content: bytes, suffix: str, clean: bool):
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), f"names{suffix}", content)
        try:
            labels = read_labels(path, clean=clean)
        except LabelError as error:
            assert path.name in str(error)
            return
    assert len(set(labels.ids)) == len(labels.names) >= 1
    assert all(name.strip() for name in labels.names)


@given(st.lists(LINE_NAMES, min_size=1, unique=True))
def test_text_round_trip(names: list[str]):
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), "names.txt", b"\xef\xbb\xbf" + "\n".join(names).encode())
        assert list(read_labels(path, clean=False).names) == names


@given(st.dictionaries(NAMES, NAMES, min_size=1))
def test_json_round_trip(names: dict[str, str]):
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), "names.json", json.dumps(names))
        labels = read_labels(path, clean=False)
        assert dict(zip(labels.ids, labels.names, strict=True)) == names
        unique = list(dict.fromkeys(names.values()))
        path = write(Path(folder), "list.json", json.dumps(unique, ensure_ascii=False))
        assert list(read_labels(path, clean=False).names) == unique
