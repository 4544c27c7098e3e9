"""What models write besides the answer: their thinking, and the marks that servers should have taken out."""

from __future__ import annotations

import html
import re

#: Names of elements that hold thinking, whatever stands around them: "think", "seed:think", "Reasoning".
_NAME = (
    r"(?:[\w-]{1,20}[:_-])?(?:think(?:ing)?(?:[_ -]process)?|thoughts?|reasoning|reason|reflection|reflect|"
    r"scratch_?pad|analysis|(?:inner_)?monologue|rationale|deliberation|chain_of_thought|cot|unused9[45])"
)
#: One tag in any of the brackets that model makers use: <think>, [THINK], ◁think▷, <|begin_of_thought|>.
_TAG = re.compile(
    rf"(?:<\||[<\u25c1\uff1c])\s*(?P<close>/?)\s*(?P<name>{_NAME})(?:\s[^<>\u25b7\uff1e]{{0,200}})?"
    rf"(?P<empty>/?)\s*(?:\|>|[>\u25b7\uff1e])|\[(?P<shut>/?)(?:think|thinking|reasoning)\]",
    re.IGNORECASE,
)
#: Channels of some model families: what is in any but the final one is thinking.
_CHANNEL = re.compile(
    r"<\|?channel\|?>\s*(?P<name>analysis|commentary|thought|thinking|reasoning|final|answer|response)\b"
    r"\s*(?:<\|?message\|?>)?",
    re.IGNORECASE,
)
#: Blocks of other forms: what begins them and what ends them.
_BLOCKS = (
    (
        re.compile(r"^```[ \t]*(?:think(?:ing)?|thoughts?|reasoning|analysis)[ \t]*$", re.I | re.M),
        re.compile(r"^```[ \t]*$", re.M),
    ),
    (
        re.compile(
            r"<details[^>]{0,200}>\s*<summary>[^<]{0,200}(?:think|thought|reason|analy)[^<]{0,200}</summary>",
            re.I,
        ),
        re.compile(r"</details>", re.I),
    ),
    (re.compile(r"<details[^>]{0,200}type=.?reasoning[^>]{0,200}>", re.I), re.compile(r"</details>", re.I)),
    (re.compile(r"^Thinking\.\.\.[ \t]*$", re.M), re.compile(r"^\.\.\.done thinking\.?[ \t]*$", re.M)),
    (re.compile(r"\A\s*>\W*(?:thinking|thoughts?|reasoning)\b", re.I), re.compile(r"^(?=[^>\n])", re.M)),
    (re.compile(r"\Aanalysis(?=[A-Z])"), re.compile(r"assistantfinal")),
)
_BEGIN = re.compile(
    r"\A(?:\s*(?:<\|(?:begin_of_solution|start_response|begin_of_text|start|im_start|assistant)\|>|"
    r"<start_of_turn>|<s>)(?:assistant|model)?)+\s*",
    re.IGNORECASE,
)
#: Where the answer ends and a model begins to write the other side of the talk.
_END = re.compile(
    r"<\|(?:im_end|im_start|eot_id|eom_id|end|return|endoftext|end_of_text|end_of_solution|end_response|"
    r"end_of_turn|user|start_header_id)\|>|<end_of_turn>|<\uff5cend\u2581of\u2581sentence\uff5c>|</s>|"
    r"\[/?INST\]|(?<=\w\n)\n?(?:User|Human|Q|#{2,3} ?(?:Instruction|Human|User)):",
    re.IGNORECASE,
)
#: Elements that say that they hold the answer.
_ANSWER = re.compile(
    r"<(?P<name>(?:final_?)?(?:answer|response|output|result|solution))>(?P<text>.*?)(?:</(?P=name)>|\Z)|"
    r"\[BEGIN FINAL RESPONSE\](?P<final>.*?)(?:\[END FINAL RESPONSE\]|\Z)",
    re.DOTALL | re.IGNORECASE,
)

_FIRST = re.compile(
    r"\s*<(?!(?:[uod]l|li|p|b|i|strong|em|div|span|table|t[rdh]|h\d|code|pre|html|body|d[td]|class|name|title|"
    r"(?:descriptor|sentence|feature|phrase|item|list|entry|entries|caption)s?)\b)(?P<name>[a-zA-Z][\w:-]{1,30})>"
)


def without_thinking(text: str) -> str:
    """The answer alone: nothing if the model never came to one.

    Thinking ends at the next closing tag, however many were opened; a closing tag without an opening one, as
    servers leave it whose template wrote the opening one, ends thinking that began with the text.
    """
    if "&lt;" in text and "<" not in text:
        text = html.unescape(text)
    for begin, end in _BLOCKS:
        text = _without_blocks(text, begin, end)
    text = _BEGIN.sub("", _outside_tags(_last_channel(text)))
    if ended := _END.search(text):
        text = text[: ended.start()]
    said = [
        words for found in _ANSWER.finditer(text) if (words := found["text"] or found["final"] or "").strip()
    ]
    return (said[-1] if said else _without_preface(text)).strip("\n")


def _without_preface(text: str) -> str:
    """Without elements of names that nobody knows, before the answer: <plan>, <ponder>, ..."""
    while (first := _FIRST.match(text)) and (end := text.find(f"</{first['name']}>")) >= 0:
        behind = text[end + len(first["name"]) + 3 :]
        if not any(each.isalnum() for each in behind):
            break
        text = behind
    return text


def _outside_tags(text: str) -> str:
    kept: list[str] = []
    place, thinking = 0, False
    for tag in _TAG.finditer(text):
        name = (tag["name"] or "").casefold()
        if tag["empty"]:
            continue
        if tag["close"] or tag["shut"] or name.startswith("end_") or name == "unused95":
            if not thinking:
                kept = []
            place, thinking = tag.end(), False
        elif not thinking:
            kept.append(text[place : tag.start()])
            thinking = True
    if not thinking:
        kept.append(text[place:])
    return "".join(kept)


def _last_channel(text: str) -> str:
    channels = list(_CHANNEL.finditer(text))
    if not channels:
        return text
    if channels[-1]["name"].casefold() in ("final", "answer", "response"):
        return text[channels[-1].end() :]
    # "<|channel>thought ... <channel|>": what follows the last mark is the answer.
    closed = text.rfind("<channel|>")
    return text[closed + len("<channel|>") :] if closed > channels[-1].start() else ""


def _without_blocks(text: str, begin: re.Pattern[str], end: re.Pattern[str]) -> str:
    kept, place = [], 0
    while (opened := begin.search(text, place)) and (closed := end.search(text, opened.end())):
        kept.append(text[place : opened.start()])
        place = closed.end()
    return "".join([*kept, text[place:]])
