"""Lists as language models write them without JSON: marks of many scripts, headings, tables, bare lines."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise

from vlcls.llm.phrases import SENTENCE_ENDS

#: Words of a line that may be an entry although it has no mark, and of an entry among commas.
MAX_WORDS, MAX_WORDS_BETWEEN_COMMAS = 10, 6

_SIGNS = (
    "-\u2010-\u2014\u2212\u2022\u2023\u2043\u2219\u00b7\u30fb\uff65\u203b\u00bb\u2192\u21d2\u27a4\u25cf\u3007"
)
_MARK = re.compile(
    rf"(?:[-=\u2013\u2014]{{1,2}}>\s*|(?P<sign>[{_SIGNS}])\s*|[*+~](?=\s)\s*|\*(?=[^*\s][^*]*$)|"
    r"(?P<number>[(\uff08\[]?\d{1,3}\s?(?:\.\)|[.):\uff09\uff0e\u3002\u3001\]\u0964])(?!\d)\s*|\d{1,3}\s?[-\u2013]\s+|"
    r"\d\ufe0f?\u20e3\s*|[\u2460-\u249b\u2776-\u2793]\s*|"
    r"\u7b2c[\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341\d]{1,3}[\u3001\uff0c,.:\uff1a]\s*|"
    r"[(\uff08]?[\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341]{1,3}[)\uff09\u3001.\uff0e]\s*|"
    r"\(?(?:[^\W\d_]|[ivxIVX]{2,4})[.)]\s+|[^\W\d_][\uff09\u3001]\s*|"
    r"[^\W\d_a-zA-Z]\s?[-\u2013]\s+))"
)
#: Marks that are none behind another: "- 30\u00b0 angle", "- 3.5 metres long".
_FIRST = re.compile(
    r"(?P<levels>\d{1,2}(?:\.\d{1,2})+)[.)]?\s+(?=[^\W\d])|\d{1,2}\s?[\u00ba\u00b0/|]\s+|#\d{1,2}[.:)]?\s+"
)
_BOX = re.compile(r"\[[ xX\u2713\u2714]?\]\s*|\([ xX\u2713]?\)\s|[\u2610-\u2612]\s*")
_EMPHASIS = re.compile(r"(\*\*|__)(?P<text>.+?)\1[:\uff1a]?$")
#: Sections that are no part of the answer, and sections that are all of it.
_ASIDE = re.compile(
    r"let me think\b.*|how to tell\b.*|(?:in )?(?:summary|conclusion)|"
    r"non-?(?:visual|visible) \w+(?: \(.*\))?|"
    r"further reading|see also|(?:here (?:is|are) )?"
    r"(?:my |the |some |step[- ]by[- ]step )?(?:reasoning|thinking|thoughts?|"
    r"thought process|analysis|plan|"
    r"planning|notes?|drafts?|first draft|considerations?|constraints?|approach|self-?check|check|"
    r"verification|reasoning steps|references?|sources?|citations?|footnotes?|"
    r"explanation|disclaimer|bibliography|"
    r"(?:things |features |what )?(?:is )?not (?:visible|to include|included)|(?:to |what to )?avoid(?:ed)?|"
    r"excluded?|exclusions|rules|requirements|instructions)(?: process| steps?)?",
    re.IGNORECASE,
)
_FINAL = re.compile(
    r"(?:here is my response|(?:the |my |here is the |and the )?(?:final|revised|corrected) (?:\w+ )?"
    r"(?:answer|list|version|output|response|descriptors)|answer|final|output|response)",
    re.IGNORECASE,
)
#: How a model begins and ends what it says around a list.
_TALK = re.compile(
    r"(?:sure|certainly|of course|okay|ok|absolutely)\s*[,!.:]|here(?: (?:is|are|you)\b|['\u2019]s)|"
    r"i(?: (?:hope|have|am|will|can|think|would)\b|['\u2019])|let me\b|the following\b|please\b|feel free|"
    r"these (?:are|features|phrases|descript\w+)\b|hope (?:this|that|it)\b|if you\b|thank(?:s| you)|"
    r"note that|(?:notes?|disclaimer|tips?|sources?|references?|class|remember|p\.?s\.?)\s*[:\uff1a]|"
    r"\(?and so on|and more\b|etc\b|as requested|would you|do you",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"\b(?:is|are|was|has|have|can|will|you|your|we|it|they)\b", re.IGNORECASE)
_ELEMENT = re.compile(
    r"<(?:li|item|descriptor|feature|phrase|entry|sentence)\b[^<>]{0,100}>\s*", re.IGNORECASE
)
_NUMBERED = re.compile(r"^[ \t]*(\d{1,2})[ \t]+(?=[^\W\d])", re.MULTILINE)
_TAG = re.compile(r"</?[a-zA-Z][\w:-]{0,30}(?:\s[^<>]{0,200})?/?>")


@dataclass(frozen=True)
class _Line:
    place: int
    indent: int
    mark: str  # "", "sign" or "number"
    text: str

    @property
    def heading(self) -> str | None:
        """What it announces, if it announces what follows."""
        text = self.text
        bold = _EMPHASIS.fullmatch(text)
        if not self.mark and (_ASIDE.fullmatch(text) or _FINAL.fullmatch(text)):
            return text
        if text.startswith("#") and (not self.mark or re.match(r"#+\s", text)):  # "- #1 jersey" is an entry
            return text.lstrip("# ").strip("*_:\uff1a# ")
        if text.rstrip("*_ ").endswith((":", "\uff1a")):
            return text.strip("*_:\uff1a ")
        return bold["text"].strip(":\uff1a ") if bold and not self.mark else None


def list_entries(text: str, is_other: Callable[[str], bool], *, sentences: bool = False) -> list[str]:
    """The entries of a list that is no JSON, as they were written; none if there is no list.

    Args:
        text: The answer, without thinking.
        is_other: Whether a heading names another class than was asked about: its section is left out.
        sentences: Entries are sentences, which a plain line may be, too.
    """
    raw = re.split("\r\n|\n|\r", _unmarked_up(text))
    lines = [line for line in map(_line, range(len(raw)), raw) if line is not None]
    marked = _marked(lines, is_other)
    if len(marked) == 1:
        marked = _on_one_line(marked[0])
    if marked:
        return marked
    return _table(text) or _bracketed(text) or _bare(lines, sentences)


def _unmarked_up(text: str) -> str:
    text = re.sub(r"<sup>[^<>]{0,20}</sup>", "", text, flags=re.IGNORECASE)
    text = re.sub(r"<br\s*/?>|</?(?:p|div|tr|h\d|[uo]l)>|</li>", "\n", text, flags=re.IGNORECASE)
    text = _ELEMENT.sub("\n- ", text)
    text = html.unescape(_TAG.sub("", text))
    text = re.sub(r"^[ \t]*```[\w-]*[ \t]*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\([-*_.#()\[\]+])", r"\1", text)
    numbers = _NUMBERED.findall(text)  # "1 fur", "2 stripes", ...: only a whole row of them is marks
    in_row = len(numbers) > 1 and all(int(each) == place for place, each in enumerate(numbers, start=1))
    return _NUMBERED.sub(r"\1. ", text) if in_row else text


def _line(place: int, raw: str) -> _Line | None:
    """A line without its marks; None for an empty one."""
    text = raw.expandtabs(4).rstrip()
    indent = len(text) - len(text.lstrip())
    text = re.sub(r"^(?:>\s*)+", "", text.lstrip())
    mark = ""
    if first := _FIRST.match(text):
        mark, text = "number", text[first.end() :]
        indent += 4 * (first["levels"] or "").count(".")
    for _ in range(4):  # "1. - [x] fur"
        found = _MARK.match(text)
        end = found.end() if found else _symbol_end(text)
        if not end or not text[end:].strip():
            break
        mark = mark or ("number" if found and found["number"] else "sign")
        text = text[end:]
        if box := _BOX.match(text):
            text = text[box.end() :]
    if not mark and (box := _BOX.match(text)) and text[box.end() :].strip():
        mark, text = "sign", text[box.end() :]
    text = text.strip()
    return _Line(place, indent, mark, text) if any(each.isalnum() for each in text) else None


def _symbol_end(text: str) -> int:
    """Behind the picture characters that a line begins with: many models use them as marks."""
    end = 0
    while end < len(text) and (
        unicodedata.category(text[end]) in ("So", "Sk") or (end and text[end] in "\ufe0f\u200d")
    ):
        end += 1
    return end + len(text[end:]) - len(text[end:].lstrip()) if end else 0


def _marked(lines: list[_Line], is_other: Callable[[str], bool]) -> list[str]:
    parents = _parents(lines)
    entries: list[str] = []
    before: list[str] = []
    skipping = continues = False
    for number, line in enumerate(lines):
        heading = line.heading
        if heading is not None or number in parents:
            title = heading if heading is not None else line.text.strip("*_ ")
            skipping, continues = bool(_ASIDE.fullmatch(title)) or is_other(title), False
            if _FINAL.fullmatch(title):
                before, entries = entries, []
            continue
        if skipping:
            continue
        if line.mark:
            continues = not _TALK.match(line.text.lstrip("*_ "))
            if continues:
                entries.append(line.text)
        elif continues and line.indent >= 2 and line.place == lines[number - 1].place + 1:
            entries[-1] += f" {line.text}"
        else:
            continues = False
    return entries or before


def _parents(lines: list[_Line]) -> set[int]:
    """Entries that are the headings of those under them: bold ones, and where all of their level are."""
    has_children = {
        number
        for number, (line, below) in enumerate(pairwise(lines))
        if line.mark
        and below.mark
        and (below.indent > line.indent or (line.mark == "number" and below.mark == "sign"))
    }
    bold = {number for number, line in enumerate(lines) if line.mark and _EMPHASIS.fullmatch(line.text)}
    others = [line.text for number, line in enumerate(lines) if line.mark and number not in bold]
    if bold and others and all(number + 1 in range(len(lines)) and number + 1 not in bold for number in bold):
        titles = all(lines[number].text.strip("*_")[:1].isupper() for number in bold)
        if titles and not any(text[:1].isupper() for text in others):  # "- **Body**", "- orange fur", ...
            has_children |= bold
    if not has_children:
        return set()
    top = {number for number, line in enumerate(lines) if line.mark == lines[min(has_children)].mark}
    top = {number for number in top if lines[number].indent == lines[min(has_children)].indent}
    if top <= has_children:
        return has_children
    return {number for number in has_children if _EMPHASIS.fullmatch(lines[number].text)}


def _on_one_line(entry: str) -> list[str]:
    """ "orange fur \u2022 black stripes" and "orange fur 2. black stripes 3. ..." are several."""
    if "\u2022" in entry:
        return [part for part in entry.split("\u2022") if part.strip()]
    parts, rest = [], entry
    for number in range(2, 100):
        before, sign, behind = [*re.split(rf"\s\(?({number}[.)])\s", rest, maxsplit=1), "", ""][:3]
        parts.append(before)
        if not sign:
            break
        rest = behind
    return parts


def _table(text: str) -> list[str]:
    """The one column of words in a table; none if there are several."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.strip().startswith("|") and any(each.isalnum() for each in line)
    ]
    body = rows[1:]
    if not body or len({len(row) for row in rows}) != 1:
        return []
    wordy = [
        column
        for column in range(len(rows[0]))
        if any(any(each.isalpha() for each in row[column]) for row in body)
    ]
    return [row[wordy[0]] for row in body] if len(wordy) == 1 else []


def _bracketed(text: str) -> list[str]:
    """ "descriptors: [orange fur, black stripes]", as YAML has it."""
    found = re.search(r"^\s*\w+\s*[:=]\s*\[([^\[\]{}:\"']+,[^\[\]{}:\"']+)\]\s*$", text, re.MULTILINE)
    return [part.strip() for part in found[1].split(",")] if found else []


def _bare(lines: list[_Line], sentences: bool) -> list[str]:
    """Lines without marks, or one line with commas, where nothing else is there."""
    said = [line.text for line in lines if line.heading is None and not re.match(r"\||.*[{}]", line.text)]
    if sentences:
        return [text for text in said if text.endswith(SENTENCE_ENDS) and not _TALK.match(text)]
    kept = [text for text in said if not _TALK.match(text)]
    if len(kept) == 1 and len(said) <= 3:
        return between_commas(kept[0])
    entries = [text for text in kept if not text.endswith(SENTENCE_ENDS) and len(text.split()) <= MAX_WORDS]
    return entries if len(entries) >= 2 and len(entries) > 0.6 * len(kept) else []


def between_commas(text: str, least: int = 3) -> list[str]:
    """Phrases on one line; none unless there are at least so many, and all of them short."""
    text = re.sub(r"^[^,:]{1,60}:\s+", "", text)
    quoted = re.findall(r"[\"\u201c]([^\"\u201c\u201d]+)[\"\u201d]", text)
    if len(quoted) >= 2 and not re.sub(r"[\"\u201c][^\"\u201c\u201d]+[\"\u201d]", "", text).strip(" ,;.and"):
        return quoted
    parts = [re.sub(r"^(?:and|or)\s+", "", part.strip()) for part in re.split("[,;\u3001\uff0c\uff1b]", text)]
    parts = [part for part in parts if part]
    fits = all(
        len(part.split()) <= MAX_WORDS_BETWEEN_COMMAS and len(part) <= 80 and not _CLAUSE.search(part)
        for part in parts
    )
    return parts if len(parts) >= least and fits else []


def names_one_of(names: Collection[str]) -> Callable[[str], bool]:
    """Whether a text is one of these names, in whatever case."""
    folded = {" ".join(name.casefold().split()) for name in names}
    return lambda text: " ".join(text.casefold().split()) in folded
