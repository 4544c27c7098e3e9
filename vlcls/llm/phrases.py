"""One entry of an answer as a phrase or a sentence: without marks, markup, citations and labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from vlcls.descriptors import Style
from vlcls.llm.subjects import is_same

#: A longer phrase is none.
MAX_PHRASE = 200
MAX_SENTENCE = 500
#: Words of a phrase: of "**Orange fur**: the coat is ..." the longer part is an explanation.
MAX_WORDS = 8
#: What a sentence ends with, in several scripts.
SENTENCE_ENDS = (".", "!", "?", "\u3002", "\uff01", "\uff1f", "\u0964")

_CITATION = re.compile(
    r"\s*(?:\[\[?\^?\d{1,3}(?:\s*[,\u2013-]\s*\^?\d{1,3})*\]?\](?:\([^)\s]*\))?"
    r"|\[cite(?:_start|: ?[\d, ]+)\]|"
    r"\ue200[^\ue201]{0,200}\ue201|\u3010[^\u3011]*\u3011|"
    r"\[(?:[a-z]|note \d{1,2})\]|\^\d{1,3}\^?|[\u2020\u2021]+$|\((?:wikipedia|britannica)\b[^)]*\)|"
    r"\[(?:citation|source|ref)[^\]]{0,60}\](?:\([^)\s]*\))?|\(\[[^\]\[]{0,200}\]\([^)\s]*\)\)|\(\d{1,2}\)$|"
    r"\(https?://[^)\s]*\)|:contentReference\[[^\]]*\]\{[^}]*\}|\((?:source|ref)s?:[^)]*\)|[\u00b9\u00b2\u00b3\u2070-\u2079]+(?=\W|$)|"
    r"<sup>[^<]{0,20}</sup>)",
    re.IGNORECASE,
)
_LINK = re.compile(r"!?\[([^\]\[]{1,200})\]\([^)\s]{1,500}\)")
_EMPHASIS = re.compile(r"(?<!\w)(\*\*\*|\*\*|__|\*|_|~~|`)(?=\S)(.+?)(?<=\S)\1(?!\w)")
_LABELLED = re.compile(r"(?P<label>[^:\uff1a]{1,40}?)\s*[:\uff1a]\s*(?P<rest>\S.*)")
_BOLD_LABEL = re.compile(
    r"(?P<mark>\*\*|__)(?P<label>[^*]{1,60}?)\s*(?P<colon>[:\uff1a]?)(?P=mark)"
    r"\s*(?P<sign>(?:[:\uff1a\u2013\u2014]|-(?=\s))?)\s*(?P<rest>\S.*)"
)
#: Scripts that write words without blanks between them.
_WITHOUT_BLANKS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_UNJOINED = re.compile(r"[\w'\u2019-]+(?:(?:,? (?:and|or) |, )[\w'\u2019-]+)*[.]?")


def tidied(found: Sequence[str], style: Style, name: str) -> list[str]:
    limit = MAX_SENTENCE if style == "sentences" else MAX_PHRASE
    phrases: dict[str, str] = {}
    for each in found:
        text = _plain(each[: 4 * MAX_SENTENCE], style)
        if style == "sentences" and text and not text.endswith(SENTENCE_ENDS):
            text += "."
        if not text or len(text) > limit or not any(letter.isalpha() for letter in text):
            continue
        if "://" in text or is_same(text, name):
            continue
        phrases.setdefault(text.casefold(), text)
    return list(phrases.values())


def _plain(text: str, style: Style) -> str:
    """One entry without marks of list, markup, citations and label."""
    text = "".join(
        " " if unicodedata.category(each) in ("Cc", "Zl", "Zp") else each
        for each in text
        if unicodedata.category(each) != "Cs" and each not in "\ufeff\u200b\u200e\u200f\u2060"
    )
    text = " ".join(_LINK.sub(r"\1", _CITATION.sub("", text)).split())
    if style == "descriptors":
        text = re.sub(r"^(?:[-\u2022]\s*|\*\s+)", "", text)
        text = _without_label(text)
        text = re.sub(
            r"^(?:(?:it|they|this|which|that) (?:has|have|is|are)|has|have)\s", "", text, flags=re.I
        )
    previous = None
    while previous != text:
        previous, text = text, _EMPHASIS.sub(r"\2", text)
    text = text.replace("**", "")
    text = re.sub(r"^[\[{]([^\[\]{}]+)[\]}]$", r"\1", text)
    ends = " \u21a9\"'`\u201c\u201d\u2018\u2019\u00ab\u00bb\u300c\u300d"
    text = text.strip(ends)
    if style == "descriptors":
        while (shorter := text.rstrip(".;,:\u3002\uff1b\uff0c\u3001\u0964\u061b\u060c ").strip(ends)) != text:
            text = shorter
    return text


def _without_label(text: str) -> str:
    """What "Colour: orange fur" says; "Tail: long and ringed" says nothing without its label."""
    bold = _BOLD_LABEL.fullmatch(text)
    found = bold or _LABELLED.fullmatch(text)
    if found is None or "://" in text:
        return text
    label, rest = found["label"].strip("*_ "), found["rest"].strip("*_ ")
    if bold and len(rest.split()) > MAX_WORDS:
        return label
    if bold and not bold["colon"] and not bold["sign"] and label[:1].isalpha():  # "**bold** lettering"
        return text
    if len(label.split()) > 4 or not any(letter.isalpha() for letter in rest):
        return text
    if re.fullmatch(r"\d+", rest[:1]) and label[-1:].isdigit():  # "at 12:30"
        return text
    says_little = _UNJOINED.fullmatch(rest) and not _WITHOUT_BLANKS.search(rest)
    return f"{label}: {rest}" if says_little and not _says_nothing(label) else rest


def _says_nothing(label: str) -> bool:
    return bool(
        re.fullmatch(
            r"(?:(?:visual )?(?:feature|descriptor|phrase|item|cue|detail|characteristic|kind|type|category))"
            r"(?: ?\d+)?",
            label,
            re.IGNORECASE,
        )
    )
