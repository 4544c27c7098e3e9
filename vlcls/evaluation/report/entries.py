"""The sections of a report, one entry each, in the order in which they are shown.

To add one, write a function of a `Run` that gives a text and blocks (see `blocks`), and an entry below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vlcls.evaluation.report.answers import answers
from vlcls.evaluation.report.blocks import Section
from vlcls.evaluation.report.mistakes import calibration, mistakes
from vlcls.evaluation.report.section_rows import Body, Run
from vlcls.evaluation.report.sections import accuracy, gains, groups, shifts, what_was_run
from vlcls.evaluation.report.side_sections import corruptions, discoveries, problems, rationales, unreadable
from vlcls.registry import Registry


@dataclass(frozen=True)
class SectionEntry:
    """One section.

    Attributes:
        name: Where links within the page lead.
        title: Its heading.
        body: What it says of a run; without blocks it is left out.
        last: It stays behind those that are added.
    """

    name: str
    title: str
    body: Callable[[Run], Body]
    last: bool = False


SECTIONS = Registry(SectionEntry, "section of a report")
for _entry in (
    SectionEntry("answer", "The answer", answers),
    SectionEntry("accuracy", "Accuracy", accuracy),
    SectionEntry("gains", "Is the gain real?", gains),
    SectionEntry("shifts", "Under distribution shift", shifts),
    SectionEntry("groups", "Worst group", groups),
    SectionEntry("mistakes", "Worst confusions", mistakes),
    SectionEntry("calibration", "Are confidences honest?", calibration),
    SectionEntry("corruptions", "Corrupted images", corruptions),
    SectionEntry("rationales", "Right for the right reasons?", rationales),
    SectionEntry("discoveries", "Without a list of names", discoveries),
    SectionEntry("unreadable", "Images that could not be read", unreadable),
    SectionEntry("problems", "Problems with class names", problems),
    SectionEntry("run", "What was run", what_was_run, last=True),
):
    SECTIONS.register(_entry)


def sections_of(run: Run) -> list[Section]:
    """Those that have something to say."""
    entries = sorted(SECTIONS.values(), key=lambda entry: entry.last)
    found = [(entry, entry.body(run)) for entry in entries]
    return [Section(entry.name, entry.title, *body) for entry, body in found if body and body[1]]
