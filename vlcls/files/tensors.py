"""Safetensors files: the one format of weights that is read. Nothing in them can run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import VlclsError
from vlcls.files.reading import open_regular, regular_file


def read_safetensors(
    path: str | Path, error: type[VlclsError], *, finite: bool = True
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays by name, and the file's metadata.

    Args:
        path: A `.safetensors` file of arrays that NumPy has types for.
        error: Class of the errors.
        finite: Refuse floating-point arrays with NaN or infinity.

    Raises:
        error: No such file, or damaged; names the file and the array.
    """
    from safetensors import SafetensorError, safe_open

    path = regular_file(path, error)
    head = read_prefix(path, error)  # eight bytes of length, and JSON
    if head[8:9] != b"{" and head.startswith((b"\x80", b"PK")):
        raise error(f"{path}: a pickle or zip, not safetensors; such files can run code and are not opened")
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, MemoryError) as reason:
        raise error(f"{path}: not a whole safetensors file: {reason}") from reason
    for name, array in arrays.items():
        if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise error(f"{path}: {name!r} holds NaN or infinity")
    return arrays, metadata


def read_prefix(path: Path, error: type[VlclsError]) -> bytes:
    """The first bytes of a file, enough to tell its kind."""
    with open_regular(path, error) as file:
        return file.read(16)


def expect_array(
    arrays: dict[str, NDArray[Any]], name: str, kind: str, shape: tuple[int | None, ...], where: str | Path,
    error: type[VlclsError],
) -> NDArray[Any]:  # fmt: skip
    """One array of a file, of a NumPy kind ("f", "iu", ...) and shape (None: any length).

    Raises:
        error: It is missing, of another kind or shape.
    """
    if name not in arrays:
        raise error(f"{where}: no {name!r}")
    found = arrays[name]
    fits = found.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, found.shape, strict=True)
    )
    if found.dtype.kind not in kind or not fits:
        wanted = " x ".join("?" if each is None else str(each) for each in shape) or "one number"
        raise error(f"{where}: {name!r} is {found.dtype} {list(found.shape)}, not {wanted}")
    return found
