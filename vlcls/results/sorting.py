"""Images in folders by their labels: copied, linked or moved."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from vlcls.arguments import takes
from vlcls.errors import ArgumentError, ImageError, OutputError, VlclsWarning
from vlcls.files.hashes import file_sha256
from vlcls.files.writing import output_errors, rename_to_new, temporary_in
from vlcls.image_sources import ImageSource, as_sources
from vlcls.images.decoding import load_source
from vlcls.results.folders import held
from vlcls.results.manifest import Done, FolderLine, Kind, Manifest, Placement, as_path, as_text
from vlcls.results.placing import copied, lies, moved, numbered, own_place, settle, status_of, trouble
from vlcls.results.safe_names import NONE, UNREADABLE, compared, folder_name

if TYPE_CHECKING:
    from vlcls.classifiers import Classification

How = Literal["copy", "link", "move"]
_NAMES: dict[Kind, str] = {"none": NONE, "unreadable": UNREADABLE}
_RESERVED = frozenset(map(compared, _NAMES.values()))
#: Pixels of these kinds are written as they are; others as RGB.
_AS_PNG = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})


@dataclass
class Sorted:
    """What came of sorting.

    Attributes:
        folder: That images were sorted into.
        placed: How many images were placed in each of its folders.
        already: How many images lay there from an earlier run.
        elsewhere: How many lie in another of its folders, too, since an earlier run gave them other labels.
        left: Images that could not be placed, and why; they are where they were.
    """

    folder: Path
    placed: Counter[str] = field(default_factory=Counter)
    already: int = 0
    elsewhere: int = 0
    left: list[str] = field(default_factory=list)


@takes(results="list", folder="path", how="way to sort")
def sort_into(
    results: Iterable[Classification], images: Any, folder: str | Path, how: How = "copy"
) -> Sorted:
    """Put images into folders by their results: a folder a label, "none of these" and "unreadable".

    Args:
        results: Of `Classifier.predict` or `iter_predict`.
        images: What it was given: paths, folders, or images in memory, which are written out.
        folder: Made if it is not there. Its manifest, `vlcls-sorted.jsonl`, is what `unsort` goes by.
        how: "copy"; "link": symbolic links to where the images lie; "move": an image of several labels goes
            to the first one's folder, and links to it into those of the others.

    Raises:
        ArgumentError: `how` is none of these, `results` are not results, or not as many as there are images.
        OutputError: The folder cannot be written, is in use, or its manifest is damaged; images in memory
            cannot be linked or moved.
    """
    sources = as_sources(images)
    with ExitStack() as stack:
        sorter = Sorter(Path(folder), how, stack)
        sorter.check(sources)
        rest = iter(results)
        for number, source in enumerate(sources):
            result = next(rest, None)
            if result is None:
                raise ArgumentError(f"{number} results of {len(sources)} images: they do not go together")
            if not hasattr(result, "top_k"):
                raise ArgumentError(f"results takes Classifications, not {type(result).__name__}")
            sorter.place(result, source)
        if next(rest, None) is not None:
            raise ArgumentError(f"more results than the {len(sources)} images: they do not go together")
    return sorter.done


class Sorter:
    """Places images one by one, and holds the folder meanwhile.

    Args:
        folder: To sort into; made if it is not there.
        how: As in `sort_into`.
        stack: When it is closed, the folder is let go of.

    Raises:
        OutputError: As `sort_into`.
    """

    def __init__(self, folder: Path, how: How, stack: ExitStack) -> None:
        self.manifest: Manifest = stack.enter_context(held(folder, make=True))
        self.folder = self.manifest.path.parent
        self.how = how
        self.done = Sorted(folder)
        settle(self.folder, self.manifest, finish=True)
        self._of_origin: dict[str, list[Placement]] = defaultdict(list)
        for placement in self.manifest.placed:
            self._of_origin[placement.origin].append(placement)
        self._next: Counter[tuple[str, str]] = Counter()

    # ---- what is to be sorted ------------------------------------------------------------------------------

    def unsorted(self, sources: Sequence[ImageSource]) -> list[ImageSource]:
        """The images without those that earlier runs put into the folder, or moved there."""
        placed = {str(self.folder / as_path(each.to)) for each in self.manifest.placed}
        made = tuple(
            str(self.folder / name) + os.sep for name, line in self.manifest.folders.items() if line.made
        )
        gone = {as_path(each.origin) for each in self.manifest.placed if each.way == "move"}

        def was_sorted(source: ImageSource) -> bool:
            if not isinstance(source.data, Path):
                return False
            place = own_place(source.data)
            return place in placed or place.startswith(made) or (place in gone and not os.path.lexists(place))

        kept = [each for each in sources if not was_sorted(each)]
        if count := len(sources) - len(kept):
            warnings.warn(
                f"{self.done.folder}: {count:,} of the images were sorted into it by an earlier run and are "
                "left out",
                VlclsWarning,
                stacklevel=2,
            )
        return kept

    def moved_from(self, folders: Sequence[str | Path]) -> int:
        """How many images of some folders earlier runs moved here; 0 if there are none of any of them."""
        origins = [as_path(each.origin) for each in self.manifest.placed if each.way == "move"]
        counts = [sum(each.startswith(own_place(folder) + os.sep) for each in origins) for folder in folders]
        return sum(counts) if all(counts) else 0

    def check(self, sources: Sequence[ImageSource]) -> None:
        """Refuse, before any work, images that cannot be placed as asked.

        Raises:
            OutputError: Some are no files, and cannot be linked or moved.
        """
        if self.how != "copy":
            other = next((each for each in sources if not isinstance(each.data, Path)), None)
            if other is not None:
                raise OutputError(
                    f"{other.name} is no file of its own: it can be copied, not linked or moved"
                )

    # ---- one image -----------------------------------------------------------------------------------------

    def place(self, result: Classification, source: ImageSource) -> None:
        """Place an image by its result; one that is not there to be placed is noted in `done.left`.

        Raises:
            OutputError: It cannot be written: the disk is full, ...; what was placed stays.
        """
        try:
            place = self._place_file if isinstance(source.data, Path) else self._place_content
            place(source, _kinds_of(result))
        except ImageError as reason:
            self.done.left.append(str(reason))

    def _place_file(self, source: ImageSource, kinds: list[tuple[Kind, str | None]]) -> None:
        path = Path(own_place(source.data))
        status = status_of(path)
        origin = as_text(path)
        as_moved = self.how == "move" and not path.is_symlink()  # a link that is moved may lead nowhere
        folders = self._folders(kinds)
        wanted = self._not_there(origin, status, folders, as_moved)
        about = {"origin": origin, "size": status.st_size, "modified": status.st_mtime_ns}
        if not wanted:
            return
        if as_moved:
            sha = file_sha256(path, ImageError)
            move = partial(moved, path, sha256=sha)
            self._publish(path.name, wanted, {**about, "sha256": sha, "way": "move"}, move)
        elif self.how == "copy":
            self._publish_copies(path.name, wanted, {**about, "way": "copy"}, partial(copied, path))
        else:
            self._publish(path.name, wanted, {"origin": origin}, None, str(path))

    def _place_content(self, source: ImageSource, kinds: list[tuple[Kind, str | None]]) -> None:
        content, suffix = _encoded(source)
        sha = hashlib.sha256(content).hexdigest()
        known = [each for each in self._of_origin[source.name] if each.sha256 == sha and self._lies(each)]
        there = set(map(_folder_of, known))
        wanted = [each for each in self._folders(kinds) if each not in there]
        self.done.already += not wanted
        name = folder_name(Path(source.name).name, ())
        name = name if name.lower().endswith(suffix) else name + suffix
        about = {"origin": source.name, "size": len(content), "modified": 0, "way": "write"}
        self._publish_copies(name, wanted, about, partial(_written, content, sha))

    def _not_there(
        self, origin: str, status: os.stat_result, folders: list[str], as_moved: bool
    ) -> list[str]:
        """The folders in which an image does not lie yet, as it is now."""
        known = [each for each in self._of_origin[origin] if each.way != "move" and self._lies(each)]
        if as_moved and known:
            raise OutputError(
                f"{as_path(origin)} was copied or linked into {self.done.folder} by an earlier run: "
                f"`vlcls unsort {self.done.folder}` first, then move"
            )
        now = (status.st_size, status.st_mtime_ns)
        there = {
            _folder_of(each) for each in known if each.way == "link" or (each.size, each.modified) == now
        }
        self.done.already += there >= set(folders)
        self.done.elsewhere += bool(there - set(folders))
        return [each for each in folders if each not in there]

    def _lies(self, placement: Placement) -> bool:
        return lies(self.folder, placement, quick=True)

    # ---- into its folders ----------------------------------------------------------------------------------

    def _folders(self, kinds: list[tuple[Kind, str | None]]) -> list[str]:
        return [self._folder(*each) for each in kinds]

    def _folder(self, kind: Kind, label: str | None) -> str:
        """The name of the folder for images of a label, which is there then."""
        line = self.manifest.folder_of(kind, label)
        if line is None:
            taken = self.manifest.taken
            name = _NAMES[kind] if label is None else folder_name(label, taken | _RESERVED)
            made = not os.path.lexists(self.folder / name)
            line = FolderLine(folder=name, kind=kind, label=label, made=made)
            self.manifest.add(line)
        place = self.folder / line.folder
        with output_errors(place):
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                raise OutputError(f"{place} is no folder but a link or a file: take it out of the way")
            place.mkdir(exist_ok=True)
        return line.folder

    def _publish_copies(
        self, name: str, folders: list[str], about: dict[str, Any], write: Callable[[Path], str]
    ) -> None:
        """Write an image into each folder under a temporary name, then give it its own."""
        for folder in folders:
            temporary = temporary_in(self.folder / folder)
            try:
                with _troubles(about["origin"], self.folder / folder / name):
                    sha = write(temporary)
                self._publish(name, [folder], {**about, "sha256": sha}, partial(rename_to_new, temporary))
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def _publish(
        self, name: str, folders: list[str], about: dict[str, Any], act: Callable[[Path], Any] | None,
        target: str | None = None,
    ) -> None:  # fmt: skip
        """Say what will be done, do it, and say that it was done.

        Args:
            name: Of the image.
            folders: `act` is for the first; links to what it made go into the others.
            about: Fields of the first's `Placement`.
            act: Makes the file; None if there are links only.
            target: Where these lead.
        """
        places = [f"{folder}/{self._free(folder, name)}" for folder in folders]
        linked = as_text(target or f"../{places[0]}")
        link = {"way": "link", "size": 0, "modified": 0, "sha256": None, "target": linked}
        first = {**about, "target": None} if act else {**about, **link}
        number = len(self.manifest.placements)
        lines = [
            Placement(number=number + n, to=as_text(to), **(first if n == 0 else {**about, **link}))
            for n, to in enumerate(places)
        ]
        self.manifest.add(*lines)
        for line, to in zip(lines, places, strict=True):
            with _troubles(line.origin, self.folder / to):
                (self.folder / to).symlink_to(as_path(linked)) if line.target or not act else act(
                    self.folder / to
                )
            self.manifest.add(Done(done=line.number, placed=True), sync=False)
            self._of_origin[line.origin].append(line)
            self.done.placed[_folder_of(line)] += 1

    def _free(self, folder: str, name: str) -> str:
        """A name that nothing in the folder has: the file's own, or with a number."""
        while True:
            self._next[folder, name] += 1
            free = numbered(name, self._next[folder, name])
            if not os.path.lexists(self.folder / folder / free):
                return free


def _kinds_of(result: Classification) -> list[tuple[Kind, str | None]]:
    """The folders that an image goes to."""
    decision = getattr(result, "decision", None)
    if result.error is not None:
        return [("unreadable", None)]
    if decision is None:
        labels = [result.label]
    else:
        labels = list(dict.fromkeys(decision.labels)) if decision.accepted else []
    return [("label", label) for label in labels if label is not None] or [("none", None)]


def _folder_of(placement: Placement) -> str:
    return as_path(placement.to).partition("/")[0]


@contextmanager
def _troubles(origin: str, target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as reason:
        raise trouble(as_path(origin), target, reason) from reason


def _written(content: bytes, sha: str, temporary: Path) -> str:
    with temporary.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return sha


def _encoded(source: ImageSource) -> tuple[bytes, str]:
    """The bytes of an image in memory, and the suffix of such files; pixels become a PNG.

    Raises:
        ImageError: There is nothing to be written.
    """
    raw = load_source(source).raw
    if isinstance(raw, bytes):
        with suppress(Exception), Image.open(io.BytesIO(raw)) as image:
            kind = image.format or ""
            return raw, {"JPEG": ".jpg", "TIFF": ".tif"}.get(kind, f".{kind.lower()}")
        return raw, ""
    file = io.BytesIO()
    (raw if raw.mode in _AS_PNG else raw.convert("RGB")).save(file, "PNG")
    return file.getvalue(), ".png"
