"""Where the data folders are: `prompts/` (templates, descriptor sets, word lists) and the suites."""

from __future__ import annotations

from pathlib import Path


def prompts_folder() -> Path:
    """Inside the installed package, or at the top of a checkout."""
    return _folder("_prompts", "prompts")


def word_list(name: str) -> list[str]:
    """The lines of `prompts/words/NAME.txt` but for comments."""
    lines = (prompts_folder() / "words" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def suites_folder() -> Path:
    """`benchmarks/suites/` of a checkout, or where the installed package has it."""
    return _folder("_suites", "benchmarks/suites")


def _folder(installed: str, checkout: str) -> Path:
    package = Path(__file__).parent
    return package / installed if (package / installed).is_dir() else package.parent / checkout
