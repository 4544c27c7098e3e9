"""What a report is made of: sections of tables, figures, verdicts and mistakes; the same for HTML and
Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

#: Control characters and halves of surrogate pairs, which no page may hold.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]|#~$])")


@dataclass(frozen=True)
class Column:
    """Of a table. Numbers stand at its right."""

    title: str
    number: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of texts. The first column names the row."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Figure:
    """An `svg` element and what is written above it."""

    svg: str
    title: str


@dataclass(frozen=True)
class Figures:
    """Figures beside one another, as many as there is room for."""

    kind: ClassVar[str] = "figures"
    figures: Sequence[Figure]
    caption: str = ""
    text: str = ""
    small: bool = False


@dataclass(frozen=True)
class Answer:
    """The best method of one set and encoder.

    Attributes:
        place: Of which set (and encoder).
        method: Its name.
        figure: Its accuracy, large.
        interval: How sure that is.
        about: What the figure is.
        reason: The verdict in a word or two; empty without one.
        sentence: The same with the figures that decided it.
    """

    place: str
    method: str
    figure: str
    interval: str
    about: str
    reason: str
    sentence: str


@dataclass(frozen=True)
class Answers:
    """Beside one another."""

    kind: ClassVar[str] = "answers"
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Judgement:
    """Why a method is better, or not."""

    method: str
    reason: str
    sentence: str


@dataclass(frozen=True)
class Judgements:
    """Those of one set and encoder."""

    kind: ClassVar[str] = "judgements"
    caption: str
    judgements: Sequence[Judgement]


@dataclass(frozen=True)
class Mistake:
    """An image with a wrong class.

    Attributes:
        image: Its name.
        picture: A data URI, or None.
        confidence: 0 to 1.
    """

    image: str
    picture: str | None
    confidence: float

    @property
    def short_name(self) -> str:
        """The last part of a path."""
        return self.image.rstrip("/").rpartition("/")[2] or self.image


@dataclass(frozen=True)
class Pair:
    """Images of one class that are given another: `count` of `images`, of several seeds the mean."""

    truth: str
    predicted: str
    count: float
    images: int
    examples: Sequence[Mistake]

    @property
    def said(self) -> str:
        """The count for people."""
        return f"{self.count:.1f}".removesuffix(".0")


@dataclass(frozen=True)
class Pairs:
    """The most frequent mistakes of one method."""

    kind: ClassVar[str] = "pairs"
    caption: str
    pairs: Sequence[Pair]


Block = Answers | Table | Figures | Judgements | Pairs


@dataclass(frozen=True)
class Section:
    """A heading, a sentence or two, and blocks.

    Attributes:
        name: Where links within the page lead.
    """

    name: str
    title: str
    text: str
    blocks: Sequence[Block]


def clean(text: str) -> str:
    """Without what no page may hold; a name of a file may be any bytes."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def points(value: float | None, scale: float = 100, digits: int = 1) -> str:
    """A part of 1 in per cent, or a difference in points: "71.4", "−2.4"."""
    return "" if value is None else _minus(f"{scale * value:.{digits}f}")


def with_interval(estimate: Mapping[str, float] | None, scale: float = 100, digits: int = 1) -> str:
    """ "71.4 [61.0, 79.9]"; empty without an estimate."""
    if estimate is None:
        return ""
    value, low, high = (f"{scale * estimate[end]:.{digits}f}" for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def signed(estimate: Mapping[str, float], digits: int = 1) -> str:
    """A difference in points: "+3.6 [−1.2, +8.3]"."""
    value, low, high = (f"{100 * estimate[end]:+.{digits}f}" for end in ("value", "low", "high"))
    return _minus(f"{value} [{low}, {high}]")


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


# ---- Markdown ------------------------------------------------------------------------------------------


def markdown(sections: Sequence[Section], title: str, about: str) -> str:
    """The sections without their figures."""
    parts = [f"# {escaped(title)}", escaped(about)]
    for section in sections:
        blocks = [text for block in section.blocks for text in _block(block)]
        if blocks:
            parts += [
                f"## {escaped(section.title)}",
                *([escaped(section.text)] if section.text else []),
                *blocks,
            ]
    return "\n\n".join(parts) + "\n"


def escaped(value: Any) -> str:
    """Text as Markdown shows it: no markup, no HTML, one line."""
    text = " ".join(clean(str(value)).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", text)


def _block(block: Block) -> list[str]:
    if isinstance(block, Table):
        return [f"**{escaped(block.caption)}**", _table(block.columns, block.rows)] if block.rows else []
    if isinstance(block, Answers):
        return ["\n".join(_told(each) for each in block.answers)]
    if isinstance(block, Judgements):
        told = [f"- **{escaped(j.method)}**: {escaped(j.sentence)}" for j in block.judgements]
        return [f"**{escaped(block.caption)}**", "\n".join(told)]
    if isinstance(block, Pairs):
        columns = [Column("is"), Column("is given"), Column("images", True), Column("of", True)]
        rows = [[pair.truth, pair.predicted, pair.said, str(pair.images)] for pair in block.pairs]
        return [f"**{escaped(block.caption)}**", _table(columns, rows)]
    return []


def _told(each: Answer) -> str:
    about = ", ".join(filter(None, [each.interval, each.about]))
    verdict = f" **{escaped(each.reason)}**:" if each.reason else ""
    sentence = f" {escaped(each.sentence)}" if each.sentence else ""
    return (
        f"- **{escaped(each.place)}**: {escaped(each.method)}, **{escaped(each.figure)}** ({escaped(about)})."
        f"{verdict}{sentence}"
    )


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    lines = [[escaped(column.title) for column in columns], ["---:" if c.number else "---" for c in columns]]
    lines += [[escaped(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
