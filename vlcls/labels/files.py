"""Files of class names, in the forms that people and other programs write them.

Each form is told by the whole file, never by one line, and what was not meant as a list of names is refused
rather than taken for names. A guess is said as a warning.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vlcls.errors import LabelError, VlclsWarning
from vlcls.files.delimited import delimiter_of, read_rows
from vlcls.files.json_text import parse_json
from vlcls.files.text import read_text, split_lines
from vlcls.files.yaml_text import parse_yaml
from vlcls.labels.names import COMMAS, Labels, clean_name

#: Headings of columns with names, and with ids, best first.
_NAMES = (
    *("name", "class_name", "classname", "label_name", "display_name", "category_name"),
    *("label", "class", "category", "title"),
)
_IDS = (
    *("id", "wnid", "synset", "class_id", "label_id", "category_id", "class_index", "index", "idx", "number"),
    *("label", "class"),
)
_PLURALS = ("names", "labels", "classes", "categories", "class_names")
#: Fields of JSON and YAML that hold the classes: id2label of a model's config.json, YOLO's names.
_FIELDS = ("id2label", *_PLURALS)

_NUMBERED = re.compile(r"[(（]?(\d{1,9})(?:[)）]?\s*[.):=,;|．）：、。]\s*|\s+(?:[-–—:]\s+)?)(\S.*)")
_NUMBERED_LAST = re.compile(r"(\S.*?)(?:\s*[:=,;|]\s*|\s+)(\d{1,9})")
_SYNSET = re.compile(r"([nvar]\d{8})(?:\s*[,;:|]\s*|\s+)(\S.*)")
_BULLET = re.compile(r"([-*•–·+◦▪‣●・])\s+(?:\[[ xX✓]?\]\s+)?(\S.*)")
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`"}

#: How a text begins that is no list of names though each of its lines might be one.
_OTHER_FORMS = {
    "code": re.compile(r"\w+(?:\s*:[^=\n]*)?\s*=\s*[\[({]|\(\s*['\"][^'\"\n]*['\"]\s*,"),
    "a Markdown table": re.compile(r"\|.*\|\s*\n\s*\|[\s:|-]+\|\s*(?:\n|$)"),
    "XML or HTML": re.compile(r"<[!?a-z][^>\n]*>[\s\S]*</\w+>", re.IGNORECASE),
    "a label map of TensorFlow": re.compile(r"item\s*\{"),
    "YAML in a file of another name": re.compile(rf"(?:{'|'.join(_FIELDS)})\s*:\s*(?:\n|\S)", re.IGNORECASE),
}

_TABLES = (".csv", ".tsv")

#: Names with the ids they were given, None where they have none.
Pairs = list[tuple[str | None, str]]
#: Lines of a file with their numbers.
Lines = list[tuple[int, str]]


def read_labels(path: str | Path, *, clean: bool = True) -> Labels:
    """Read a file of labels; the encoding may be UTF-8, or UTF-16 as Windows writes it.

    One name a line, or an id, a tab and a name; blank lines and lines that begin with `#` are left out. Other
    forms are known by the whole file: names in one line with commas or semicolons, numbered lines and lines
    with WordNet synsets (which become ids), bullets, quotes; CSV with a heading for the names (and ids);
    JSON or YAML with a list of names, an object of ids to names (or of names to numbers), a list of objects
    with "id" and "name", or one of these as "names", "classes", "categories" or "id2label".

    Raises:
        LabelError: The file cannot be read, or its labels are unusable; names the file and the line.

    Warns:
        VlclsWarning: The form was guessed, or there is only one class.
    """
    path = Path(path)
    text = read_text(path, LabelError)
    suffix = path.suffix.lower()
    try:
        if suffix == ".json" or (suffix not in _TABLES and text.lstrip()[:1] in ("[", "{")):
            pairs = _of_content(_json(text, path, suffix))
        elif suffix in (".yaml", ".yml"):
            pairs = _of_content(parse_yaml(text, "its content", LabelError, texts=True), texts=True)
        else:
            pairs = _of_lines(text, suffix, path)
        names = tuple(clean_name(name) if clean else name for _, name in pairs)
        ids = (name if given is None else given for (given, _), name in zip(pairs, names, strict=True))
        return Labels(names, tuple(ids))
    except LabelError as error:
        raise LabelError(f"labels file {path}: {error}") from error


def _say(path: Path, what: str) -> None:
    warnings.warn(f"labels file {path}: {what}", VlclsWarning, stacklevel=4)


# ---- JSON and YAML -------------------------------------------------------------------------------------


def _json(text: str, path: Path, suffix: str) -> Any:
    """Content of a JSON file, whatever it is called; of JSON Lines as a list."""
    lines = [line for line in split_lines(text) if line.strip()]
    if len(lines) > 1 and all(line.strip()[0] == "{" and line.strip()[-1] == "}" for line in lines):
        return [parse_json(line, f"line {row}", LabelError) for row, line in enumerate(lines, 1)]
    try:
        return parse_json(text, "its content", LabelError)
    except LabelError as error:
        if suffix == ".json":
            raise
        raise LabelError(f"{error}. It begins as JSON does: use double quotes, or one name a line") from error


def _of_content(content: Any, *, texts: bool = False) -> Pairs:
    """Names and ids of a list or an object; `texts`: numbers in it are texts, too, as those of YAML are."""
    if isinstance(content, dict):
        for field in _FIELDS:
            if isinstance(content.get(field), (list, dict)):
                return _of_content(content[field], texts=texts)
            if len(content) == 1 and field in content:
                raise LabelError(f"{field} must hold a list of names, not {str(content[field])[:80]!r}")
        values = content.values()
        numbers = [str(value) for value in values if type(value) is int or (texts and _is_number(value))]
        if len(numbers) == len(content) and not any(map(_is_number, content)):  # label2id
            pairs = sorted(zip(numbers, map(str, content), strict=True), key=lambda pair: int(pair[0]))
            if pairs and _count_up(pairs) and (len(pairs) > 1 or pairs[0][0] == "0"):
                return [(number, name) for number, name in pairs]
            raise LabelError(f"a label must be text, not {numbers[0] if numbers else content}")
        return [_pair(key, value) for key, value in content.items()]
    if isinstance(content, list):
        return [_item(value) for value in content]
    raise LabelError("must hold a list of names, or an object of ids to names")


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10


def _pair(key: Any, value: Any) -> tuple[str | None, str]:
    """An id and a name; of keras's {"0": ["n01440764", "tench"]}, the synset and the name."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value):
        return value[0], value[1]
    return str(key), _name(value)


def _item(value: Any) -> tuple[str | None, str]:
    if isinstance(value, dict):
        found = {str(key).casefold(): each for key, each in value.items()}
        name = next((key for key in _NAMES if isinstance(found.get(key), str)), None)
        if name is None:
            raise LabelError(f"{str(value)[:80]}: no name in it ({', '.join(_NAMES[:3])}, ...)")
        given = next((found[key] for key in _IDS if key != name and type(found.get(key)) in (str, int)), None)
        return None if given is None else str(given), found[name]
    if isinstance(value, list) and len(value) == 2 and all(type(each) in (str, int) for each in value):
        return str(value[0]), _name(value[1])
    return None, _name(value)


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise LabelError(f"a label must be text, not {str(value)[:80]}")
    return value


# ---- lines ---------------------------------------------------------------------------------------------


def _of_lines(text: str, suffix: str, path: Path) -> Pairs:
    lines = [(row, line.strip(" ")) for row, line in enumerate(split_lines(text), 1)]
    lines = [(row, line) for row, line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return []
    for form, begins in _OTHER_FORMS.items():
        if begins.match(text[text.index(lines[0][1]) :]):
            raise LabelError(
                f"line {lines[0][0]}: this is {form}, and no list of names: save one name a line"
            )
    is_table = suffix in _TABLES or _is_header([line for _, line in lines], suffix)
    pairs = _of_table(text, suffix, path) if is_table else None
    if pairs is not None:
        return pairs
    if len(lines) == 1:
        return _of_one_line(lines[0][1], path)
    if all(line.endswith(",") for _, line in lines[:-1]):  # a list over several lines, as in code
        return [(None, name) for name in _split(" ".join(line for _, line in lines), ",")]
    return _without_marks(lines, path)


def _of_one_line(line: str, path: Path) -> Pairs:
    plain = re.sub(r'"[^"]*"', "", line)
    delimiter = next((each for each in (";", "|", *COMMAS) if each in plain), None)
    if delimiter is None and plain.count("\t") > 1:
        delimiter = "\t"
    if delimiter is None:
        _say(path, f"there is one class in it, {line!r}: every image will be that")
        return _without_marks([(1, line)], path)
    names = _split(line, delimiter)
    if len(names) > 1:
        _say(path, f"one line with {delimiter!r} in it: read as {len(names)} names")
    return [(None, name) for name in names]


def _split(line: str, delimiter: str) -> list[str]:
    try:
        row = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise LabelError(f"{error} in {line[:80]!r}") from error
    names = [_unquoted(name.strip()) for name in row]
    return names[:-1] if len(names) > 1 and not names[-1] else names


def _without_marks(lines: Lines, path: Path) -> Pairs:
    texts = [line for _, line in lines]
    if len(
        {found[1] if (found := _BULLET.fullmatch(text)) else None for text in texts} - {None}
    ) == 1 and all(map(_BULLET.fullmatch, texts)):
        texts = [_BULLET.sub(r"\2", text) for text in texts]
    if all(text[:1] in _QUOTES and text[-1:] == _QUOTES[text[:1]] and len(text) > 2 for text in texts):
        texts = [text[1:-1] for text in texts]
    last = [(each[2], each[1]) for text in texts if (each := _NUMBERED_LAST.fullmatch(text))]
    if len(last) == len(texts) > 1 and _count_up(last):
        _say(path, "the numbers at the end of its lines are read as ids of the classes")
        return list(last)
    if any("\t" in text for text in texts):
        return [_tabbed(row, text) for (row, _), text in zip(lines, texts, strict=True)]
    for pattern, what, fits in ((_SYNSET, "WordNet synsets", _distinct), (_NUMBERED, "numbers", _count_up)):
        matches = map(pattern.fullmatch, texts)
        pairs = [(_plain_digits(each[1]), each[2]) for each in matches if each]
        if len(pairs) == len(texts) and fits(pairs):
            _say(path, f"the {what} at the beginning of its lines are read as ids of the classes")
            return _twice_numbered(pairs)
    if len(texts) > 1 and all("," in text and ", " not in text for text in texts):
        _say(path, f"each line is read as one name, commas included: {texts[0]!r}")
    return [(None, text) for text in texts]


def _plain_digits(identifier: str) -> str:
    """Digits of other scripts as those that data sets number their classes with."""
    return "".join(str(int(each)) if each.isdecimal() else each for each in identifier)


def _distinct(pairs: list[tuple[str, str]]) -> bool:
    return len({identifier for identifier, _ in pairs}) == len(pairs)


def _count_up(pairs: list[tuple[str, str]]) -> bool:
    """Whether the numbers count the lines, from 0 or 1; "1 person", "2 person" would count something else."""
    numbers = [int(identifier) for identifier, _ in pairs]
    names = {name for _, name in pairs}
    return (
        numbers[0] in (0, 1)
        and numbers == [numbers[0] + n for n in range(len(numbers))]
        and (len(names) == len(pairs))
    )


def _twice_numbered(pairs: list[tuple[str, str]]) -> Pairs:
    """ "1 001.Black_footed_Albatross", as CUB-200 has it: the second number is no part of the name."""
    again = [_NUMBERED.fullmatch(name) for _, name in pairs]
    inner = [(each[1], each[2]) for each in again if each]
    if len(inner) == len(pairs) and _count_up(inner):
        return [(identifier, name) for (identifier, _), (_, name) in zip(pairs, inner, strict=True)]
    return list(pairs)


def _tabbed(row: int, text: str) -> tuple[str | None, str]:
    identifier, tab, name = text.partition("\t")
    if tab and not (identifier.strip() and name.strip()):
        raise LabelError(f"line {row}: an id, a tab and a name are expected, not {text!r}")
    return (identifier.strip(), name) if tab else (None, text)


def _unquoted(name: str) -> str:
    quoted = len(name) > 2 and name[0] in _QUOTES and name[-1] == _QUOTES[name[0]]
    return name[1:-1] if quoted else name


# ---- tables --------------------------------------------------------------------------------------------


def _heading(cell: str) -> str:
    return cell.strip().strip('"').casefold().replace(" ", "_")


def _is_header(lines: Sequence[str], suffix: str) -> bool:
    """Whether the first line names usual headings of names and ids: nothing else, or one of those of names in
    front of lines of as many fields."""
    delimiter = delimiter_of(lines[0], suffix)
    cells = [_heading(cell) for cell in lines[0].split(delimiter)]
    if len(set(cells)) < len(cells):
        return False
    even = len(cells) > 1 and len({line.count(delimiter) for line in lines}) == 1 and len(lines) > 1
    known = {*_NAMES, *_IDS, *_PLURALS}
    return all(cell in known for cell in cells) or (even and bool({*_NAMES, *_PLURALS} & {*cells}))


def _of_table(text: str, suffix: str, path: Path) -> Pairs | None:
    """Names, and ids if there are some, of a table; None for a file of one name a line."""
    rows = list(read_rows(io.StringIO(text, newline=""), path, LabelError, suffix=suffix))
    rows = [(line, row) for line, row in rows if not row[0].startswith("#")]
    width = len(rows[0][1])
    if suffix == ".tsv" and not _is_header(["\t".join(row) for _, row in rows], suffix):
        return None
    if len(rows) == 1:
        return None
    if uneven := [(line, row) for line, row in rows if len(row) != width]:
        raise LabelError(f"line {uneven[0][0]}: {len(uneven[0][1])} fields, and the first has {width}")
    headings = [_heading(cell) for cell in rows[0][1]]
    name = _column(headings, (*_NAMES, *_PLURALS))
    if name is None:
        return _without_header([row for _, row in rows])
    given = _column(headings, _IDS, name)
    if width == 1:
        _say(path, f"its first line, {rows[0][1][0].strip()!r}, is read as a heading")
    return [(row[given].strip() if given is not None else None, row[name]) for _, row in rows[1:]]


def _column(headings: Sequence[str], wanted: Sequence[str], but: int | None = None) -> int | None:
    places = (headings.index(each) for each in wanted if each in headings)
    return next((place for place in places if place != but), None)


def _without_header(rows: list[list[str]]) -> Pairs:
    """One column of names, or ids and names in two: whole numbers or synsets, each once."""
    if len(rows[0]) == 1:
        return [(None, row[0]) for row in rows]
    is_id: Callable[[str], Any] = re.compile(r"\s*(\d{1,9}|[nvar]\d{8})\s*").fullmatch
    columns = [place for place in range(len(rows[0])) if all(is_id(row[place]) for row in rows)]
    if (
        len(rows[0]) == 2
        and len(columns) == 1
        and len({row[columns[0]].strip() for row in rows}) == len(rows)
    ):
        return [(row[columns[0]].strip(), row[1 - columns[0]]) for row in rows]
    raise LabelError(
        f"{len(rows[0])} columns, and no heading says which holds the names: begin it with a line such as "
        f"id,name (its first is {','.join(rows[0])[:80]!r})"
    )
