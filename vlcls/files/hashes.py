"""Hashes of a folder's files, kept in its own JSON: a damaged file is noticed before it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from vlcls.errors import VlclsError
from vlcls.files.reading import _why, open_regular


def file_sha256(path: str | Path, error: type[VlclsError] = VlclsError) -> str:
    """SHA-256 of a regular file, in hexadecimal; read in blocks, so a file of any size."""
    digest = hashlib.sha256()
    with open_regular(path, error) as file:
        try:
            while block := file.read(1 << 20):
                digest.update(block)
        except OSError as reason:
            raise error(f"{path}: {_why(reason)}") from reason
    return digest.hexdigest()


def check_hashes(folder: Path, files: Mapping[str, str], error: type[VlclsError]) -> None:
    """Compare files of a folder with their hashes.

    Args:
        folder: The folder.
        files: SHA-256 in hexadecimal by name of file.
        error: Raised for a file that is missing, damaged, or named outside the folder.
    """
    for name, expected in files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise error(f"{folder}: {name!r} is no file of this folder")
        if file_sha256(folder / name, error) != expected:
            raise error(f"{folder / name}: damaged: it is not the file that was written here")
