"""Building a caption database: clean, drop what was seen, embed a part at a time, index.

A part is written when it is whole, and the captions in the parts that are there are not embedded again. That
makes a killed build go on where it was, with the same parts as if nothing had happened, and lets a second
source be added to a finished database.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlcls.errors import CaptionError, EncoderMismatchError, VlclsWarning
from vlcls.retrieval.database import CONFIG, INDEX, DatabaseInfo, config_bytes, read_config
from vlcls.retrieval.index import IndexInfo, build_index, choose_factory, write_index
from vlcls.retrieval.parts import part_paths, read_parts, rounded, texts_of, write_part
from vlcls.retrieval.sources import LONGEST_CAPTION, clean_caption
from vlcls.store import text_key, write_atomically

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

#: Captions in a part: what a killed build loses at most.
PART_ROWS = 4096

Dtype = Literal["float16", "float32"]


@dataclass
class BuildReport:
    """What became of the captions of a source.

    Attributes:
        added: Embedded now.
        repeated: Left out: there already, or earlier in the source.
        empty: Left out: no text.
        cut: Of those added, longer than `LONGEST_CAPTION` characters and cut there.
        total: Captions in the database.
        index: What finds them; None in a process that did not build it (see `build_captions`).
    """

    added: int = 0
    repeated: int = 0
    empty: int = 0
    cut: int = 0
    total: int = 0
    index: IndexInfo | None = None


def build_captions(
    captions: Iterable[str | None],
    folder: str | Path,
    encoder: Encoder,
    *,
    dtype: Dtype = "float16",
    index: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> BuildReport:
    """Embed captions and index them, in a folder that `open_captions` opens.

    Under `accelerate launch` the processes share the embedding; the main one writes and then builds the index
    alone: the others return without waiting for it. Every process must be given the same captions.

    Args:
        captions: Texts in any number, as `read_captions` gives them; None counts as empty.
        folder: A new one, one whose build was interrupted, or a database to add to.
        encoder: Embeds the captions, and later the images.
        dtype: What embeddings are kept as.
        index: What FAISS's `index_factory` takes; by default chosen by the number of captions, see
            `vlcls.retrieval.index.choose_factory`.
        progress: Called with the number of captions just embedded.

    Raises:
        CaptionError: There is not one usable caption, or the folder holds something else.
        EncoderMismatchError: The folder's captions were embedded with another encoder.
    """
    from vlcls.encoders.placement import process_state

    folder, state = Path(folder), process_state()
    main = state.process_index == 0
    before = _begin(folder, encoder, dtype)
    seen = _agreed(_seen(folder)) if state.num_processes > 1 else _seen(folder)
    report = BuildReport()
    for part in _parts(captions, seen, report):
        embeddings = _embedded(part, encoder)
        if main:
            if not report.added:
                write_atomically(folder, CONFIG, config_bytes(None, **_identity(encoder, dtype)))
            write_part(folder, part, rounded(embeddings, dtype))
        report.added += len(part)
        if progress is not None:
            progress(len(part))
    report.total = len(seen)
    if not seen:
        raise CaptionError(f"{folder}: not one usable caption ({report.empty} empty ones)")
    if main:
        report.index = _indexed(folder, encoder, dtype, index, before if not report.added else None)
    return report


def _begin(folder: Path, encoder: Encoder, dtype: Dtype) -> DatabaseInfo | None:
    """Check that the folder is new or one of ours; what it was when it was last finished."""
    if not (folder / CONFIG).exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CaptionError(f"{folder} is there already and is no caption database: give a new folder")
        return None
    config = read_config(folder)
    if config["fingerprint"] != encoder.fingerprint:
        raise EncoderMismatchError(
            f"the captions of {folder} were embedded with {config['encoder']} (fingerprint "
            f"{config['fingerprint'][:12]}), but {encoder.spec} has fingerprint {encoder.fingerprint[:12]}: "
            "use that encoder, or another folder"
        )
    if config["dtype"] != dtype:
        raise CaptionError(f"the embeddings of {folder} are kept as {config['dtype']}, not {dtype}")
    about = config["database"]
    return DatabaseInfo(**{**about, "index": IndexInfo(**about["index"])}) if about else None


def _identity(encoder: Encoder, dtype: Dtype) -> dict[str, str]:
    return {"encoder": encoder.spec, "fingerprint": encoder.fingerprint, "dtype": dtype}


def _seen(folder: Path) -> set[int]:
    """Keys of the captions that are embedded already."""
    return {_key(text) for text in texts_of(read_parts(folder)[0])} if part_paths(folder) else set()


def _key(caption: str) -> int:
    # 64 bits: among a hundred million captions, one is lost to a collision with a probability of 0.0003.
    return int.from_bytes(text_key(caption)[:8], "little")


def _agreed(seen: set[int]) -> set[int]:
    """The main process's view, for all: it may be writing while the others look."""
    from accelerate.utils import broadcast_object_list

    agreed: set[int] = broadcast_object_list([seen])[0]
    return agreed


def _parts(captions: Iterable[str | None], seen: set[int], report: BuildReport) -> Iterator[list[str]]:
    part: list[str] = []
    for caption in captions:
        text = clean_caption(caption)
        key = _key(text)
        if not text:
            report.empty += 1
        elif key in seen:
            report.repeated += 1
        else:
            seen.add(key)
            part.append(text)
            report.cut += len(caption or "") > LONGEST_CAPTION <= len(text) + 1  # a space at the cut goes
        if len(part) == PART_ROWS:
            yield part
            part = []
    if part:
        yield part


def _embedded(captions: list[str], encoder: Encoder) -> Any:
    from vlcls.embeddings import embed_texts

    with warnings.catch_warnings():
        # A caption is as good when its end is not read; a warning for each part would say nothing else.
        warnings.simplefilter("ignore", VlclsWarning)
        return embed_texts(captions, encoder).cpu().numpy()


def _indexed(
    folder: Path, encoder: Encoder, dtype: Dtype, factory: str | None, before: DatabaseInfo | None
) -> IndexInfo:
    captions, blocks = read_parts(folder)
    factory = factory or choose_factory(len(captions), dtype)
    if before is not None and before.index.factory == factory and (folder / INDEX).exists():
        return before.index
    write_atomically(folder, CONFIG, config_bytes(None, **_identity(encoder, dtype)))
    index, found = build_index(blocks, factory)
    write_index(index, folder / INDEX)
    info = DatabaseInfo(encoder.spec, encoder.fingerprint, encoder.embedding_dim, dtype, len(captions), found)
    write_atomically(folder, CONFIG, config_bytes(info, **_identity(encoder, dtype)))
    return found
