"""YAML as plain content, bounded like JSON: no tags, no copies of copies, no numbers without end."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from vlcls.errors import VlclsError, library
from vlcls.files.json_text import MAX_DEPTH, MAX_DIGITS

#: Bytes of a file: PyYAML reads one or two million a second.
MAX_BYTES = 8 << 20

_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)", re.ASCII)


def parse_yaml(text: str, where: str | Path, error: type[VlclsError], *, texts: bool = False) -> Any:
    """Content of one YAML document: texts, whole numbers, floats, true and false, null, lists and mappings.

    Dates stay the text that they are. Aliases (`*name`) are refused: ten lines of them are a billion items.

    Args:
        text: The document.
        where: For messages.
        error: Raised for what is wrong with it.
        texts: Leave all scalars but null as they are written: a class may be called "no".

    Raises:
        error: Not YAML; a tag, an alias, or a key that is there twice; a number that is not finite or of more
            than `MAX_DIGITS` digits; nested deeper than `MAX_DEPTH`. Names the line.
        MissingExtraError: PyYAML is not installed.
    """
    yaml = library("yaml", "reading YAML", "evaluation")
    try:
        _check_events(yaml, text, where, error)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if node is None else _content(node, where, error, texts)
    except yaml.YAMLError as reason:
        raise error(f"{where}: not YAML: {' '.join(str(reason).split())[:300]}") from reason
    except RecursionError as reason:
        raise error(f"{where}: nested too deep") from reason


def _check_events(yaml: Any, text: str, where: str | Path, error: type[VlclsError]) -> None:
    """Depth and aliases, before anything is made of the text; events nest in no recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = f"{where}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise error(f"{line}: aliases (*{event.anchor}) are not read: write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise error(f"{line}: nested deeper than {MAX_DEPTH} levels")


def _content(node: Any, where: str | Path, error: type[VlclsError], texts: bool) -> Any:
    """A node of PyYAML as plain content."""
    line = f"{where}, line {node.start_mark.line + 1}"
    kind = node.tag.rpartition(":")[2]
    if node.id == "sequence" and kind == "seq":
        return [_content(each, where, error, texts) for each in node.value]
    if node.id == "mapping" and kind == "map":
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _content(key_node, where, error, texts)
            if isinstance(key, (list, dict)) or key in found:
                what = "a list or mapping is no key" if isinstance(key, (list, dict)) else f"{key!r} is twice"
                raise error(f"{where}, line {key_node.start_mark.line + 1}: {what}")
            found[key] = _content(value_node, where, error, texts)
        return found
    if node.id == "scalar" and kind in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge"):
        return node.value if texts and kind != "null" else _scalar(kind, node.value, line, error)
    at = node.start_mark.line + 1
    raise error(f"{where}: not YAML: could not determine a constructor for the tag {node.tag!r} (line {at})")


def _scalar(kind: str, text: str, line: str, error: type[VlclsError]) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("yes", "true", "on")
    if kind == "int":
        if len(text) > MAX_DIGITS:
            raise error(f"{line}: a number of {len(text):,} digits")
        # 017, 0x1f and 1:30 are numbers of YAML's, too, which nobody means here.
        return int(text) if _WHOLE.fullmatch(text) else text
    if kind == "float":
        try:
            number = float(text)
        except ValueError:
            number = math.inf
        if not math.isfinite(number):
            raise error(f"{line}: {text[:40]} is no number that can be used")
        return number
    return text
