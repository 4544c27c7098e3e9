"""Building a caption database: clean, drop what was seen, embed a part at a time, index.

A part is written when it is whole, and the captions in the parts that are there are not embedded again. That
makes a killed build go on where it was, with the same parts as if nothing had happened, and lets a second
source be added to a finished database. One process at a time writes in a folder.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from vlcls.arguments import takes
from vlcls.errors import CaptionError, EncoderMismatchError, VlclsWarning
from vlcls.files.hashes import file_sha256
from vlcls.files.writing import check_output_folder, locked, remove_leftovers
from vlcls.retrieval.database import CONFIG, INDEX, DatabaseInfo, check_part, read_config, write_config
from vlcls.retrieval.index import IndexInfo, build_index, choose_factory, write_index
from vlcls.retrieval.parts import part_paths, read_part, read_parts, rounded, write_part
from vlcls.retrieval.sources import LONGEST_CAPTION, clean_caption
from vlcls.store import text_key

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

#: Held by the build that writes the folder.
LOCK = ".lock"
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
        removed: Taken out of what was there: it was there twice.
        total: Captions in the database.
        index: What finds them; None in a process that did not build it (see `build_captions`).
    """

    added: int = 0
    repeated: int = 0
    empty: int = 0
    cut: int = 0
    removed: int = 0
    total: int = 0
    index: IndexInfo | None = None


@takes(captions="list", folder="path", dtype="text", index="text?", progress="function?")
def build_captions(
    captions: Iterable[str | None],
    folder: str | Path,
    encoder: str | Encoder,
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
        encoder: Embeds the captions, and later the images; or its spec.
        dtype: What embeddings are kept as.
        index: What FAISS's `index_factory` takes; by default chosen by the number of captions, see
            `vlcls.retrieval.index.choose_factory`.
        progress: Called with the number of captions just embedded.

    Raises:
        CaptionError: There is not one usable caption, or the folder holds something else, or a damaged part.
        EncoderMismatchError: The folder's captions were embedded with another encoder.
        OutputError: The folder cannot be written, or another process builds in it.
    """
    from vlcls.encoders import as_encoder
    from vlcls.encoders.placement import found_by_main, process_state

    encoder = as_encoder(encoder)
    folder, state = Path(folder), process_state()
    if state.process_index:  # the main process looks after the folder, and says what is there
        seen: set[int] = found_by_main(set)
        return _embed_all(captions, seen, encoder, BuildReport(), progress, lambda texts, rows: None)
    check_database_folder(folder)
    check_output_folder(folder)
    with locked(folder, "another `vlcls captions build`"):
        report = BuildReport()
        found = _prepare(folder, encoder, dtype, report)
        seen = found_by_main(lambda: found.seen)

        def keep(texts: list[str], embeddings: NDArray[np.float32]) -> None:
            if not report.added:
                write_config(folder, _identity(encoder, dtype), found.files)
            path = write_part(folder, texts, rounded(embeddings, dtype))
            found.files[path.name] = file_sha256(path)

        _embed_all(captions, seen, encoder, report, progress, keep)
        if not seen:
            raise CaptionError(f"{folder}: not one usable caption ({report.empty} empty ones)")
        report.index = _indexed(folder, encoder, dtype, index, found, reuse=not report.added)
    return report


def check_database_folder(folder: Path) -> None:
    """Refuse a folder that is there and is no caption database, before any work.

    Raises:
        CaptionError: It holds something else, or is no folder.
    """
    if (folder / CONFIG).exists():
        read_config(folder)
    elif folder.exists() and not folder.is_dir():
        raise CaptionError(f"{folder} is a file and no caption database: give a new folder")
    elif folder.exists():
        remove_leftovers(folder)
        if any(path.name != LOCK for path in folder.iterdir()):
            raise CaptionError(f"{folder} is there already and is no caption database: give a new folder")


@dataclass
class _Found:
    """What a folder holds before a build.

    Attributes:
        info: What was built last, if it is whole; None if its index must be made again.
        files: Hashes by name: of all parts, and of the index that belongs to them.
        seen: Keys of the captions.
    """

    info: DatabaseInfo | None
    files: dict[str, str]
    seen: set[int]


def _prepare(folder: Path, encoder: Encoder, dtype: Dtype, report: BuildReport) -> _Found:
    """Check a database that is added to, and mend it: each caption once, a hash of each part.

    Parts without a hash are those of a build that was killed, or of an earlier release. Captions that are
    there twice come from two builds at once, which earlier releases allowed: one of each is taken out.
    """
    if not (folder / CONFIG).exists():
        return _Found(None, {}, set())
    config = read_config(folder)
    if config.fingerprint != encoder.fingerprint:
        raise EncoderMismatchError(
            f"the captions of {folder} were embedded with {config.encoder} (fingerprint "
            f"{config.fingerprint[:12]}), but {encoder.spec} has fingerprint {encoder.fingerprint[:12]}: "
            "use that encoder, or another folder"
        )
    if config.dtype != dtype:
        raise CaptionError(f"the embeddings of {folder} are kept as {config.dtype}, not {dtype}")
    listed = config.files or {}
    files: dict[str, str] = {}
    seen: set[int] = set()
    for path in part_paths(folder):
        if path.name in listed:
            check_part(path, listed[path.name])
        column, rows = read_part(path, dtype, encoder.embedding_dim)
        texts = column.to_pylist()
        fresh = [row for row, text in enumerate(texts) if not _met(seen, _key(text))]
        if len(fresh) == len(texts):
            files[path.name] = listed.get(path.name) or file_sha256(path)
            continue
        report.removed += len(texts) - len(fresh)
        if fresh:  # under a new name first: a kill leaves too much rather than too little
            kept = write_part(folder, [texts[row] for row in fresh], rows[fresh])
            files[kept.name] = file_sha256(kept)
        path.unlink()
    parts = {name: sha for name, sha in listed.items() if name != INDEX}
    whole = files == parts and INDEX in listed
    return _Found(
        config.info if whole else None, {**files, **({INDEX: listed[INDEX]} if whole else {})}, seen
    )


def _met(seen: set[int], key: int) -> bool:
    """Whether a key was met before; from now on it was."""
    known = key in seen
    seen.add(key)
    return known


def _embed_all(
    captions: Iterable[str | None], seen: set[int], encoder: Encoder, report: BuildReport,
    progress: Callable[[int], None] | None, keep: Callable[[list[str], NDArray[np.float32]], None],
) -> BuildReport:  # fmt: skip
    """Embed the captions that are new, part by part; all processes of a launch do so together."""
    for part in _parts(captions, seen, report):
        keep(part, _embedded(part, encoder))
        report.added += len(part)
        if progress is not None:
            progress(len(part))
    report.total = len(seen)
    return report


def _identity(encoder: Encoder, dtype: Dtype) -> dict[str, str]:
    return {"encoder": encoder.spec, "fingerprint": encoder.fingerprint, "dtype": dtype}


def _key(caption: str) -> int:
    # 64 bits: among a hundred million captions, one is lost to a collision with a probability of 0.0003.
    return int.from_bytes(text_key(caption)[:8], "little")


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


def _embedded(captions: list[str], encoder: Encoder) -> NDArray[np.float32]:
    from vlcls.embeddings import embed_texts

    with warnings.catch_warnings():
        # A caption is as good when its end is not read; a warning for each part would say nothing else.
        warnings.simplefilter("ignore", VlclsWarning)
        rows: NDArray[np.float32] = embed_texts(captions, encoder).cpu().numpy()
    if not np.isfinite(rows).all():
        row = int((~np.isfinite(rows)).any(1).argmax())
        raise CaptionError(f"{encoder.spec} embeds the caption {captions[row][:60]!r} as NaN or infinity")
    return rows


def _indexed(
    folder: Path, encoder: Encoder, dtype: Dtype, factory: str | None, found: _Found, *, reuse: bool
) -> IndexInfo:
    captions, blocks = read_parts(folder, dtype, encoder.embedding_dim)
    factory = factory or choose_factory(len(captions), dtype)
    before, path = found.info if reuse else None, folder / INDEX
    same = before is not None and (before.index.factory, before.captions) == (factory, len(captions))
    if before is not None and same and path.is_file() and file_sha256(path) == found.files.get(INDEX):
        return before.index
    files = {name: sha for name, sha in found.files.items() if name != INDEX}
    write_config(folder, _identity(encoder, dtype), files)
    index, about = build_index(blocks, factory)
    files[INDEX] = write_index(index, path)
    info = DatabaseInfo(encoder.spec, encoder.fingerprint, encoder.embedding_dim, dtype, len(captions), about)
    write_config(folder, _identity(encoder, dtype), files, info)
    return about
