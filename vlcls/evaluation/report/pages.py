"""Results as a page and as Markdown.

The page is one file that loads nothing and runs nothing: styles and figures are in it, thumbnails are data
URIs, and its content security policy forbids the rest. Everything from data is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlcls.errors import library
from vlcls.evaluation.report.blocks import Section, clean, markdown
from vlcls.evaluation.report.entries import sections_of
from vlcls.evaluation.report.run_folder import write_files
from vlcls.evaluation.report.section_rows import ImageOf, Run
from vlcls.files.terminal import counted

_TEMPLATE = "report.html.j2"
_TITLE = "Zero-shot evaluation"
#: How a reason is shown: what is claimed, what is not, and what is bad.
_TONES = {"what the text says": "good", "worse": "bad"}


def write_report(results: Mapping[str, Any], folder: Path, image_of: ImageOf | None = None) -> Path:
    """Write `report.html` and `report.md`.

    Args:
        results: All of `results.json`.
        folder: The run's, where the predictions are that `results` names.
        image_of: Gives pictures for thumbnails of mistakes; without it there are only names.

    Returns:
        The path of the HTML file.

    Raises:
        EvaluationError: Predictions that are missing or damaged.
        MissingExtraError: Jinja2, Matplotlib or PyArrow is not installed.
    """
    folder = Path(folder)
    found = sections_of(Run(results, folder, image_of))
    about = _about(results)
    page = _rendered(found, results, about)
    write_files(folder, {"report.md": markdown(found, _TITLE, about).encode(), "report.html": page.encode()})
    return folder / "report.html"


def _about(results: Mapping[str, Any]) -> str:
    counts = {
        "method": len(results["methods"]),
        "image": sum(each["images"] for each in results["sets"].values()),
    }
    said = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    names = " on ".join(counted(list(results[what]), 3) for what in ("encoders", "sets"))
    return f"{names}: {said}. vlcls {results['vlcls']}, {results['date'].replace('T', ' ')}."


def _rendered(found: Sequence[Section], results: Mapping[str, Any], about: str) -> str:
    jinja2 = library("jinja2", "a report", "evaluation")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vlcls.evaluation.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    template = environment.get_template(_TEMPLATE)
    return template.render(title=_TITLE, about=about, sections=found, tones=_TONES, date=results["date"])


def _printable(value: Any) -> Any:
    """What Jinja escapes next; figures are markup already, made of clean texts."""
    return clean(value) if type(value) is str else value
