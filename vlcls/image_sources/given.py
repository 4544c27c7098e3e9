"""What Python users pass as images, in the forms that the libraries around have them in."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, KeysView, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

from PIL import Image

from vlcls.errors import ImageError
from vlcls.files.lazy import Lazy
from vlcls.image_sources.finding import expand
from vlcls.image_sources.kinds import FilesLeftOut
from vlcls.image_sources.sources import DatasetRow, ImageSource, base64_bytes, is_encoded

#: Fields of a row that name an image by its path.
_PATH_FIELDS = (
    "image", "img", "image_path", "img_path", "path", "file_path", "file", "file_name", "filename",
)  # fmt: skip

_ENCODED = (bytes, bytearray, memoryview)


def as_sources(images: Any) -> Sequence[ImageSource]:
    """What Python users pass as images, as a sequence of sources in the same order.

    Args:
        images: One item or an iterable of them (a list, a generator, a pandas or Arrow column, an array of
            paths). Items are

            - a path (str or any path object) of a file: one image, also when it is repeated, so that results
              line up with the list; a folder, glob or list file stands for all its images, as in
              `find_images`;
            - PIL images (the current frame), bytes of an image file, files open for reading bytes (read from
              their start), base64 text of an image file, plain or as a `data:` URL, `ImageSource`s;
            - arrays [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]: uint8, uint16, bool, or float in [0, 1]; an
              array [N, H, W, C] is N images. Tensors likewise, but channels first: [C, H, W], [N, C, H, W];
            - a row of a data set (a mapping with one image among its values), and a slice of one (`ds[:8]`,
              a mapping with one list of images);
            - None, NaN, an empty text: a missing value, which is reported as an image that could not be read.

            A column of a `datasets.Dataset`, or a Dataset with exactly one Image column, is read row by row
            while the work goes on, never held in memory.

    Raises:
        ImageError: Something else, which the message names; a folder or glob without images.
    """
    column = _dataset_column(images)
    if column is not None:
        return Lazy(len(column), partial(_source_in, column))
    left_out = FilesLeftOut()
    sources: list[ImageSource] = []
    for item in _items(images):
        if isinstance(item, ImageSource):
            sources.append(item)
        elif isinstance(item, (str, os.PathLike)) and not _is_base64(item) and str(item).strip():
            path = item if isinstance(item, str) else os.fsdecode(item)
            sources += {str(found.data): found for found in expand(path, left_out)}.values()
        else:
            where = f"image {len(sources)}"
            blank = isinstance(item, str) and not item.strip()
            sources.append(ImageSource(where, None if blank else _datum(item, where)))
    left_out.say()
    return sources


def _source_in(column: Sequence[Any], index: int) -> ImageSource:
    return ImageSource(f"image {index}", DatasetRow(column, index))


def _is_base64(item: Any) -> bool:
    try:
        return isinstance(item, str) and base64_bytes(item) is not None
    except ValueError:  # damaged: reading it will say so
        return True


def _items(images: Any) -> Iterable[Any]:
    """The items of what was passed, which may be one itself."""
    if isinstance(images, (str, os.PathLike, *_ENCODED, Image.Image, ImageSource)) or hasattr(images, "read"):
        return [images]
    if isinstance(images, Mapping):
        found = _of_row(images, "")
        return [found] if isinstance(found, Mapping) else _items(found)
    if isinstance(images, AbstractSet) and not isinstance(images, KeysView):
        raise ImageError("a set of images has no order that results could follow: pass a list")
    if is_tensor(images):
        return list(images) if images.ndim == 4 else [images]
    if not isinstance(images, type):
        if hasattr(images, "columns") or hasattr(images, "column_names"):
            named = images.column_names if hasattr(images, "column_names") else images.columns
            names = list(map(str, named))[:10] or ["image"]
            raise ImageError(
                f"a table with columns {names}: pass the one with the images, table[{names[0]!r}]"
            )
        for method in ("to_pylist", "to_list"):  # columns of Arrow; of pandas and polars
            if hasattr(images, method):
                return list(getattr(images, method)())
        if is_array(images) or (hasattr(images, "dtype") and hasattr(images, "__array__")):
            return _items_of_array(_as_array(images))
        if isinstance(images, Iterable):
            return images
    raise ImageError(unknown_type(images))


def _items_of_array(array: Any) -> Iterable[Any]:
    if array.dtype.kind in "OUST" and array.ndim < 2:  # an array of paths, or of images of unlike size
        items: list[Any] = array.ravel().tolist()
        return items
    return list(array) if array.ndim == 4 else [array]


def _as_array(images: Any) -> Any:
    import numpy as np

    return np.asarray(images)


def _datum(item: Any, where: str) -> Any:
    """One item as `vlcls.images` reads it."""
    if isinstance(item, (str, *_ENCODED, Image.Image)) or is_array(item) or is_missing(item):
        return item
    if isinstance(item, Mapping):
        found = _of_row(item, f"{where}: ")
        return found if found is None or isinstance(found, Mapping) else _datum(found, where)
    if hasattr(item, "read"):
        return _file_bytes(item, where)
    if is_tensor(item):
        return _pixels(item, where)
    if hasattr(item, "dtype") and hasattr(item, "__array__"):
        return _as_array(item)
    if isinstance(item, (list, tuple)):
        kinds = ", ".join(dict.fromkeys(type(part).__name__ for part in item[:5])) or "nothing"
        raise ImageError(
            f"{where}: a {type(item).__name__} of {kinds} is not one image: pass one flat list of images "
            "(of pairs with a label, the image alone; of embeddings, one Tensor [N, D])"
        )
    raise ImageError(f"{where}: {unknown_type(item)}")


def is_missing(item: Any) -> bool:
    """None, NaN, and the missing values of pandas."""
    return (
        item is None
        or (isinstance(item, float) and item != item)
        or type(item).__name__ in ("NAType", "NaTType")
    )


def _file_bytes(file: Any, where: str) -> bytes:
    """All of an open file, from its start where it can be wound back."""
    if isinstance(file, io.TextIOBase):
        raise ImageError(f'{where}: a file that is open for text; open it for bytes, open(path, "rb")')
    try:
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)
        data = file.read()
    except Exception as error:  # files of other libraries raise what they like
        raise ImageError(f"{where}: an open file that cannot be read ({error})") from error
    if not isinstance(data, _ENCODED):
        raise ImageError(f"{where}: an open file that yields {type(data).__name__} in place of bytes")
    return bytes(data)


# ---- rows of data sets ---------------------------------------------------------------------------------


def _of_row(row: Mapping[Any, Any], where: str) -> Any:
    """The image, or the list of images, among the values of a row or of a slice of rows."""
    if _is_undecoded(row):
        return row
    shown = [name for name, value in row.items() if _is_picture(value)]
    if not shown:
        shown = [name for name in _PATH_FIELDS if name in row and _is_path(row[name])][:1]
    if len(shown) != 1:
        names = ", ".join(map(repr, shown or row))
        raise ImageError(
            f"{where}a mapping with {len(shown) or 'no'} images among its fields ({names}): "
            'pass the image itself, as in row["image"]'
        )
    return row[shown[0]]


def _is_undecoded(value: Any) -> bool:
    """Whether it is what `datasets.Image(decode=False)` yields."""
    return isinstance(value, Mapping) and bool(value) and set(value) <= {"bytes", "path"}


def _is_picture(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        value = next((each for each in value if each is not None), None)
    if isinstance(value, _ENCODED):
        return is_encoded(bytes(value[:16]))
    pixels = (is_array(value) or is_tensor(value)) and value.ndim >= 2
    return pixels or isinstance(value, Image.Image) or _is_undecoded(value)


def _is_path(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_is_path(each) for each in value)
    return isinstance(value, (str, os.PathLike))


# ---- arrays and tensors --------------------------------------------------------------------------------


def is_array(item: Any) -> bool:
    numpy = sys.modules.get("numpy")  # whoever has an array has imported it
    return numpy is not None and isinstance(item, numpy.ndarray)


def is_tensor(item: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(item, torch.Tensor)


def _pixels(tensor: Any, where: str) -> Any:
    """A tensor of pixels as an array with channels last.

    Raises:
        ImageError: A sparse, meta, quantised or complex tensor, or one whose channels do not come first.
    """
    import torch

    shape = " x ".join(map(str, tensor.shape)) or "no axes"
    for what, is_so in (
        ("without data (meta)", tensor.is_meta),
        ("sparse", tensor.layout is not torch.strided),
        ("complex", tensor.is_complex()),
        ("quantised", tensor.is_quantized),
    ):
        if is_so:
            raise ImageError(
                f"{where}: a tensor that is {what} holds no pixels: give a dense one of uint8 or float"
            )
    if tensor.ndim == 1:
        raise ImageError(
            f"{where}: a tensor of {shape} numbers is no image; embeddings go in one Tensor [N, D], as "
            "torch.stack makes it"
        )
    if tensor.ndim == 3 and tensor.shape[0] not in (1, 3, 4):
        last = tensor.shape[2] in (1, 3, 4)
        raise ImageError(
            f"{where}: a tensor of {shape} is not channels (1, 3 or 4) x height x width"
            + ("; channels come first: tensor.permute(2, 0, 1)" if last else "")
        )
    tensor = tensor.detach().cpu()
    tensor = tensor.float() if tensor.is_floating_point() else tensor
    return (tensor.permute(1, 2, 0) if tensor.ndim == 3 else tensor).numpy()


def unknown_type(item: Any) -> str:
    kind = item if isinstance(item, type) else type(item)
    return (
        f"cannot read an image from {kind.__module__}.{kind.__qualname__}; give a path, bytes, an open file, "
        "a PIL image, an array (height x width x channels), a tensor (channels x height x width), a list of "
        "these, or a column of a table or of a datasets.Dataset"
    )


# ---- datasets -------------------------------------------------------------------------------------------


def _dataset_column(images: Any) -> Sequence[Any] | None:
    """A `datasets` column whose rows come undecoded, or None for anything that is not of `datasets`."""
    datasets = sys.modules.get("datasets")
    if datasets is None or not type(images).__module__.startswith("datasets."):
        return None
    if isinstance(images, datasets.Dataset):
        names = [name for name, kind in images.features.items() if isinstance(kind, datasets.Image)]
        if len(names) != 1:
            raise ImageError(
                f"the dataset has {len(names)} image columns {names or list(images.features)}: "
                'pass one of its columns, such as dataset["image"]'
            )
        images = images[names[0]]
    column_type = datasets.arrow_dataset.Column
    if not isinstance(images, column_type):
        raise ImageError(f"a {type(images).__name__} has no fixed rows: pass one split, not streamed")
    # A set_transform makes the pixels by itself, and a nested column has no cast: both are read as they are.
    dataset, name = images.source, images.column_name
    if not isinstance(dataset, datasets.Dataset) or dataset.format["type"] == "custom":
        return images
    dataset = dataset.with_format(None).select_columns([name])
    if isinstance(images.features, datasets.Image):
        dataset = dataset.cast_column(name, datasets.Image(decode=False))
    return dataset[name]
