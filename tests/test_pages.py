"""The pages: their links lead somewhere, and the glossary names pages and files that use its words."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

from vlcls.classifiers.scorers import SCORERS
from vlcls.encoders.families import FAMILIES
from vlcls.evaluation.metrics.entries import METRICS
from vlcls.evaluation.run.kinds import METHODS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for folder in ("", "docs", "benchmarks", "prompts")
    for page in (ROOT / folder).glob("**/*.md" if folder else "*.md")
)
#: Entry points, which are no modules.
GROUPS = {registry.group for registry in (SCORERS, FAMILIES, METRICS, METHODS)}
GLOSSARY = ROOT / "docs" / "glossary.md"


def _anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them: letters, digits, _ and - in lower case, blanks as -."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), target
        assert not anchor or anchor in _anchors(there), target


@pytest.mark.parametrize(
    "file", [*PAGES, *sorted((ROOT / "vlcls").rglob("*.py"))], ids=lambda file: str(file.relative_to(ROOT))
)
def test_what_texts_name_is_there(file: Path):
    """`vlcls.some.name` in a page or a docstring is a module, or a name in one."""
    for name in re.findall(r"`(vlcls(?:\.\w+)+)", file.read_text(encoding="utf-8")):
        if name not in GROUPS:
            pkgutil.resolve_name(name)


def test_the_glossary_knows_where_its_words_are_used():
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", GLOSSARY.read_text(encoding="utf-8"), re.M)[2:]
    assert {"shown", "deal", "look", "room", "piece", "cell"} <= {word for word, _ in rows}
    for word, places in rows:
        named = [GLOSSARY.parent / link for link in re.findall(r"\]\(([^)#]+)", places)]
        named += [ROOT / file for file in re.findall(r"`([^`]+)`", places)]
        assert named, word
        form = re.compile(rf"\b{word}s?\b".replace(" ", r"[\s_-]+"), re.I)
        for place in named:
            text = re.sub(r"([a-z])([A-Z])", r"\1 \2", place.read_text(encoding="utf-8")).replace("_", " ")
            assert form.search(text), (word, place.name)
