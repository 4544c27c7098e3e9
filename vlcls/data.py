"""Where the data folder `prompts/` is: templates, descriptor sets, word lists, instructions."""

from __future__ import annotations

from pathlib import Path


def prompts_folder() -> Path:
    """Inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parent
    installed = package / "_prompts"
    return installed if installed.is_dir() else package.parent / "prompts"
