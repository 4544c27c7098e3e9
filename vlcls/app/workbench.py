"""An open editing session: a `Session` on disk, with the scores of every state of its descriptors.

All methods may be called from several threads; changes happen one after another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from vlcls import __version__
from vlcls.app.material import Material
from vlcls.app.session import Look, Session, check_revision, edited, looked, started
from vlcls.app.session_files import export_path, load, locked, save
from vlcls.bias import BiasReport, Split, find_bias
from vlcls.binomial import interval
from vlcls.classifiers.base import open_store
from vlcls.descriptors import DescriptorSet, write_descriptors
from vlcls.editing import Comparison, Scored, compare, rescore, score
from vlcls.embeddings import embed_texts
from vlcls.errors import SessionError
from vlcls.explain import Audit, Explanation, audit_descriptors, explain_images
from vlcls.files.writing import check_output_folder, output_errors, release
from vlcls.labelled import LabelledEmbeddings
from vlcls.limits import readable

#: States whose scores stay in memory besides those of the start.
_KEPT = 4
#: Source under which an export tells where it came from.
EXPORTED = "vlcls edit"


@dataclass(frozen=True, eq=False)
class Seen:
    """A state of the session with what it does on the shown images.

    Attributes:
        session: The session then.
        start, now: Scores of the start's descriptors and of those in force.
        comparison: Of the two; images are named by their place among all images.
        seconds: What the last change took: new text encoded, scored, compared, saved.
        encoded: How many texts were new to the classifier then.
    """

    session: Session
    start: Scored
    now: Scored
    comparison: Comparison
    seconds: float
    encoded: int


class Workbench:
    """See the module. Close it to let another server use the folder."""

    def __init__(self, material: Material, folder: str | Path, *, cache: bool | str = True) -> None:
        """Go on with the session of `folder`, or start one there.

        Raises:
            SessionError: The folder is in use, or its session is damaged or of other material.
        """
        self.material, self.folder = material, Path(folder).expanduser()
        self._cache = cache
        self._changing, self._auditing = threading.RLock(), threading.Lock()
        self._lock = locked(self.folder)
        try:
            found = load(self.folder)
            if found is None:
                found = started(material.descriptors, material.about(), now())
                save(found, self.folder)
            self._check(found)
            start = score(material.start, material.shown.embeddings)
            self._scores: list[tuple[DescriptorSet, Scored]] = [(found.start, start)]
            self._audits: list[tuple[DescriptorSet, Audit]] = []
            #: What the last search for bias found, and the descriptors that it looked at.
            self.searched: tuple[DescriptorSet, BiasReport] | None = None
            #: The state in force.
            self.seen = self._see(found, time.perf_counter())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        release(self._lock)

    def change(self, revision: int, move: Callable[[Session], Session]) -> Seen:
        """Change the session, score all shown images anew, and save. What cannot be scored changes nothing.

        Args:
            revision: Of the session that was looked at when the change was asked for.
            move: From `vlcls.app.session`.

        Raises:
            SessionError: The session was changed meanwhile, `move` refuses, or it cannot be saved.
            TemplateError: A class would be left without any prompt.
        """
        began = time.perf_counter()
        with self._changing:
            check_revision(self.seen.session, revision)
            session = move(self.seen.session)
            seen = self._see(session, began)
            save(session, self.folder)
            self.seen = replace(seen, seconds=time.perf_counter() - began)
            return self.seen

    def edit(self, revision: int, move: Callable[[DescriptorSet], DescriptorSet], said: str) -> Seen:
        """As `change`, with a function of the descriptors."""
        return self.change(revision, lambda now_: edited(now_, move(now_.descriptors), said, now()))

    def look(self, revision: int) -> Seen:
        """Score the held-out images, and count that this was done.

        Raises:
            SessionError: No image is held out, or as for `change`.
        """
        held = self.material.held
        if not len(held):
            raise SessionError("no image is held out in this session: there is nothing to look at")

        def move(session: Session) -> Session:
            first = score(self.material.start, held.embeddings)
            second = rescore(first, self.seen.now.classifier)
            found = compare(first, second, held.truth, held.groups)
            assert found.total is not None
            directions = [flip.direction for flip in found.flips]
            groups = {
                column: tuple((part.name, part.count, part.before, part.after) for part in parts)
                for column, parts in found.groups.items()
            }
            gained, lost = directions.count("wrong to right"), directions.count("right to wrong")
            total = found.total
            look = Look(now(), session.revision, total.count, total.before, gained, lost, groups)
            return looked(session, look)

        return self.change(revision, move)

    def audit(self) -> Audit:
        """What each descriptor in force does on the shown images."""
        seen, shown = self.seen, self.material.shown
        with self._auditing:
            for known, audit in self._audits:
                if known == seen.session.descriptors:
                    return audit
            audit = audit_descriptors(seen.now.classifier, shown.embeddings, shown.truth)
            self._audits = [(seen.session.descriptors, audit), *self._audits[: _KEPT - 1]]
            return audit

    def search(self) -> None:
        """Look for bias of the descriptors in force, on the shown images alone.

        Their own words are the vocabulary of failure modes, beside the groups.
        """
        seen, shown = self.seen, self.material.shown
        classifier = seen.now.classifier
        known = seen.session.descriptors
        words = list(dict.fromkeys(each.text for own in known.descriptors for each in own))
        names = tuple(self.material.names[row] for row in shown.rows.tolist())
        images = LabelledEmbeddings(shown.embeddings, shown.truth, shown.groups, names)
        everything = Split(np.arange(len(shown)), np.zeros(0, dtype=np.int64), 0)
        with self._auditing:
            rows = embed_texts(words, classifier.encoder, store=open_store(self._cache))
            found = find_bias(classifier, images, vocabulary=(words, rows.cpu()), split=everything)
            self.searched = (known, found)

    def explain(self, place: int) -> Explanation:
        """Why shown image `place` (among the shown ones) is given its class; the true class too."""
        shown = self.material.shown
        found = explain_images(
            self.seen.now.classifier, shown.embeddings[place : place + 1], [int(shown.truth[place])]
        )
        return found[0]

    def export(self, name: str, note: str) -> Path:
        """Write the descriptors in force, with where they came from, below the session's folder.

        Raises:
            OutputError: It cannot be written.
            DescriptorError: No file can hold it.
        """
        with self._changing:
            path = export_path(self.folder, name)
            check_output_folder(path.parent)
            with output_errors(path):
                return write_descriptors(self.exported(note), path)

    def exported(self, note: str) -> DescriptorSet:
        """The descriptors in force, with a source that tells how they were made."""
        seen, material = self.seen, self.material
        session, total = seen.session, seen.comparison.total
        assert total is not None
        about = {
            "note": " ".join(note.split()),
            "date": now(),
            "vlcls": __version__,
            **{
                key: session.about[key] for key in ("images", "images content", "encoder", "wording", "split")
            },
            "edits": "; ".join(step.said for step in session.steps[1 : session.place + 1]),
            "accuracy on shown images": f"{_rate(total.before, total.count)} at the start, "
            f"{_rate(total.after, total.count)} now, of {len(material.shown)}",
            "looks at held-out images": str(len(session.looks)),
        }
        plain = {key: readable(value) for key, value in about.items() if value}
        return replace(session.descriptors, sources={**session.descriptors.sources, EXPORTED: plain})

    def _check(self, found: Session) -> None:
        wanted = self.material.about()
        other = [key for key, value in wanted.items() if found.about.get(key) != value]
        if not other and found.start == self.material.descriptors:
            return
        what = ", ".join(other) or "descriptors"
        raise SessionError(
            f"{self.folder} holds a session of another kind ({what}): give another --session to start anew"
        )

    def _see(self, session: Session, began: float) -> Seen:
        shown = self.material.shown
        start = self._scores[0][1]
        scored, encoded = self._scored(session.descriptors)
        comparison = compare(
            start, scored, shown.truth, shown.groups, [str(row) for row in shown.rows.tolist()]
        )
        return Seen(session, start, scored, comparison, time.perf_counter() - began, encoded)

    def _scored(self, descriptors: DescriptorSet) -> tuple[Scored, int]:
        """The scores of a state, and how many of its texts the last one did not have."""
        for known, scored in self._scores:
            if known == descriptors:
                return scored, 0
        _, last = self._scores[-1]
        prompts = self.material.wording.prompts(descriptors)
        new = len(set(prompts.texts) - set(last.classifier.prompts.texts))
        scored = rescore(last, last.classifier.with_prompts(prompts, cache=self._cache))
        self._scores = [self._scores[0], *self._scores[1:][-_KEPT + 1 :], (descriptors, scored)]
        return scored, new


def now() -> str:
    """The time, as sessions write it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _rate(right: int, count: int) -> str:
    low, high = interval(right, count)
    return f"{right / count:.1%} ({low:.1%} to {high:.1%})"
