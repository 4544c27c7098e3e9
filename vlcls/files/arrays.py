"""NumPy's own files, made by any program: nothing is unpickled, nothing larger than its file is believed."""

from __future__ import annotations

import math
import tokenize
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from vlcls.errors import VlclsError
from vlcls.files.reading import open_regular

#: A member of an `.npz` may unpack to this many bytes, or to this many times its packed size: numbers that
#: were measured pack to hardly less than half.
MAX_MEMBER, MAX_RATIO = 1 << 30, 20
#: A header is a Python literal.
_TROUBLE = (
    *(OSError, ValueError, EOFError, TypeError, SyntaxError, KeyError, OverflowError, RecursionError),
    *(MemoryError, tokenize.TokenError),
)


def read_npy(path: str | Path, error: type[VlclsError], *, mmap: bool = False) -> NDArray[Any]:
    """The array of an `.npy` file, or a read-only map of it, which keeps no file open: folders have hundreds.

    Raises:
        error: Not such a file, cut off, or of objects (a pickle, which is never opened).
    """
    with open_regular(path, error) as file:
        try:
            shape, dtype, order = _header(file)
            offset = file.tell()
            size = Path(path).stat().st_size - offset
        except _TROUBLE as reason:
            raise error(f"{path}: not a whole .npy file: {reason}") from reason
    _check(shape, dtype, size, str(path), error)
    try:
        if mmap and 0 not in shape:
            return _mapped(Path(path), offset, shape, dtype, order)
        return np.load(path, allow_pickle=False)
    except _TROUBLE as reason:
        raise error(f"{path}: not a whole .npy file: {reason}") from reason


def read_npz(path: str | Path, error: type[VlclsError]) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file by name.

    Raises:
        error: Not such a file, damaged, encrypted, compressed in a way that NumPy does not write, far larger
            than its packed size (`MAX_MEMBER`, `MAX_RATIO`), or of objects.
    """
    arrays = {}
    with open_regular(path, error) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                for member in archive.infolist():
                    name = member.filename.removesuffix(".npy")
                    arrays[name] = _member(archive, member, f"{path}: {name}", error)
        except VlclsError:
            raise
        except Exception as reason:  # zip, zlib and NumPy each have errors of their own
            raise error(f"{path}: not a whole .npz file: {reason}") from reason
    return arrays


def _mapped(
    path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], order: Literal["C", "F"]
) -> NDArray[Any]:
    """Mapped by torch: NumPy and Python's own `mmap` hold a descriptor for as long as the map lives."""
    import torch

    whole = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8).numpy()
    length = dtype.itemsize * math.prod(shape)
    rows = whole[offset : offset + length].view(dtype).reshape(shape, order=order)
    rows.flags.writeable = False
    return rows


def _member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str, error: type[VlclsError]
) -> NDArray[Any]:
    if member.flag_bits & 1:
        raise error(f"{where}: encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise error(f"{where}: compressed in a way that NumPy does not write")
    limit = max(MAX_MEMBER, MAX_RATIO * member.compress_size)
    if member.file_size > limit:
        raise error(f"{where}: unpacks to {member.file_size:,} bytes, more than {limit:,}")
    with archive.open(member) as file:
        shape, dtype, _ = _header(file)  # type: ignore[arg-type]
        _check(shape, dtype, member.file_size, where, error)
    with archive.open(member) as file:
        return npy.read_array(file, allow_pickle=False)


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any], Literal["C", "F"]]:
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:  # 3.0: names of fields in UTF-8, which no array of ours has
        raise ValueError(f"format version {version} of NumPy")
    shape, by_columns, dtype = read(file)
    return shape, dtype, "F" if by_columns else "C"


def _check(
    shape: tuple[int, ...], dtype: np.dtype[Any], size: int, where: str, error: type[VlclsError]
) -> None:
    if dtype.hasobject:
        raise error(f"{where}: an array of objects, which only a pickle holds; save it as numbers or text")
    rows = 1
    for each in shape:
        rows *= each
    if any(each < 0 for each in shape) or rows * dtype.itemsize > size:
        raise error(f"{where}: damaged: {list(shape)} values of {dtype} in {size:,} bytes")
