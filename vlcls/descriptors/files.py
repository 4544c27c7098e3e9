"""Descriptor sets as files that people edit: read, written, and every problem found with class and line.

The format of vlcls has one descriptor a line, so that it diffs well:

    {
     "format": "vlcls-descriptors",
     "version": 1,
     "style": "descriptors",
     "sources": {"gpt": {"model": "gpt-4o-mini", "date": "2026-11-23"}},
     "classes": [
      {
       "name": "tiger",
       "descriptors": [
        {"text": "black stripes", "source": "gpt"},
        "a ringed tail"
       ]
      }
     ]
    }

A plain string is a descriptor that a person wrote. Two more formats are read and written: an object of class
names to lists of descriptors (Menon & Vondrick 2023) or of sentences (Pratt et al. 2023).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from vlcls.data import prompts_folder
from vlcls.descriptors.base import HAND, Descriptor, DescriptorSet, Style
from vlcls.descriptors.parsing import FORMAT, VERSION, FileFormat, ReadFile, parse_descriptors
from vlcls.errors import DescriptorError
from vlcls.files.json_text import to_json
from vlcls.files.named import is_built_in
from vlcls.files.reading import read_bytes
from vlcls.files.text import decode_text
from vlcls.files.writing import write_atomically
from vlcls.labels import clean_name

#: Far above any real set: ImageNet with CuPL's sentences has 5 MB.
MAX_BYTES = 512 * 1024**2


def read_descriptors(path: str | Path, *, style: Style | None = None) -> DescriptorSet:
    """Read a descriptor set.

    Args:
        path: A file in one of the formats, or the name of a built-in set ("pacs"; a file is "./pacs").
        style: What a plain file holds; by default sentences if most of its texts are some.

    Raises:
        DescriptorError: Not readable, or not a descriptor set; names the file, the class and the line.
    """
    return read_file(path, style=style).descriptors


def read_file(path: str | Path, *, style: Style | None = None) -> ReadFile:
    """As `read_descriptors`, with the lines."""
    built_in = is_built_in(path, descriptor_names(), "descriptor set")
    where = prompts_folder() / "descriptors" / f"{path}.json" if built_in else Path(path).expanduser()
    return parse_descriptors(_text(where), str(path), where.name, style)


def descriptor_names() -> list[str]:
    """The built-in descriptor sets."""
    return sorted(path.stem for path in (prompts_folder() / "descriptors").glob("*.json"))


def write_descriptors(descriptors: DescriptorSet, path: str | Path, *, format: FileFormat = "vlcls") -> Path:
    """Write a descriptor set; the file appears whole or not at all.

    Raises:
        DescriptorError: The format cannot hold it: in "plain", two classes of one name.
    """
    path = Path(path).expanduser()
    return write_atomically(path, written(descriptors, format))


def written(descriptors: DescriptorSet, format: FileFormat = "vlcls") -> str:
    """The text of a file, which was read back: nothing is written that cannot be read again.

    Raises:
        DescriptorError: The format cannot hold the set; says why.
    """
    text = to_plain(descriptors) if format == "plain" else to_text(descriptors)
    try:
        if len(text.encode()) > MAX_BYTES:
            raise DescriptorError(f"more than {MAX_BYTES:,} bytes")
        parse_descriptors(text, "what would be written", "")
    except (DescriptorError, UnicodeEncodeError) as error:
        raise DescriptorError(f"this set cannot be kept in a file, and none was changed: {error}") from error
    return text


def to_text(descriptors: DescriptorSet) -> str:
    """The vlcls format."""
    # A source that nothing is known of is named all the same: files say where each text came from.
    used: dict[str, dict[str, str]] = {
        each.source: {} for own in descriptors.descriptors for each in own if each.source != HAND
    }
    about_sources = {**used, **descriptors.sources}
    sources = [f"  {to_json(name)}: {to_json(dict(about))}" for name, about in about_sources.items()]
    lines = [
        "{",
        f' "format": {to_json(FORMAT)},',
        f' "version": {VERSION},',
        f' "style": {to_json(descriptors.style)},',
        ' "sources": {' + ("\n" + ",\n".join(sources) + "\n }," if sources else "},"),
        ' "classes": [',
    ]
    classes = list(
        zip(descriptors.labels.ids, descriptors.labels.names, descriptors.descriptors, strict=True)
    )
    for number, (identifier, name, own) in enumerate(classes, start=1):
        lines += ["  {", f'   "name": {to_json(name)},']
        if identifier != clean_name(name):
            lines.append(f'   "id": {to_json(identifier)},')
        entries = [f"    {to_json(_entry(each))}" for each in own]
        lines.append('   "descriptors": [' + ("" if entries else "]"))
        if entries:
            lines += [f"{entry}," for entry in entries[:-1]] + [entries[-1], "   ]"]
        lines.append("  }" if number == len(classes) else "  },")
    return "\n".join([*lines, " ]", "}", ""])


def to_plain(descriptors: DescriptorSet) -> str:
    """An object of class names (or ids, where names repeat) to lists of texts."""
    counts = Counter(descriptors.labels.names)
    keys = [
        identifier if counts[name] > 1 else name
        for identifier, name in zip(descriptors.labels.ids, descriptors.labels.names, strict=True)
    ]
    if len(set(keys)) < len(keys):
        twice = next(key for key, count in Counter(keys).items() if count > 1)
        raise DescriptorError(f"the plain format cannot tell two classes {twice!r} apart: use vlcls's own")
    content = {key: descriptors.texts(index) for index, key in enumerate(keys)}
    return to_json(content, indent=4) + "\n"


def _entry(descriptor: Descriptor) -> Any:
    entry: dict[str, Any] = {"text": descriptor.text}
    if descriptor.source != HAND:
        entry["source"] = descriptor.source
    if descriptor.edited:
        entry["edited"] = True
    if descriptor.weight != 1:
        entry["weight"] = descriptor.weight
    return descriptor.text if len(entry) == 1 else entry


def _text(path: Path) -> str:
    try:
        content = read_bytes(path, DescriptorError, MAX_BYTES)
    except DescriptorError as error:
        if path.is_file():
            raise
        known = ", ".join(descriptor_names())
        raise DescriptorError(f"{error}; built-in descriptor sets are: {known}") from error
    return decode_text(content, path, DescriptorError)
