"""Jinja templates that a user brings: filled in by a process of their own, bounded in time and memory.

A template is a program: `{{ 9 ** (9 ** 9) }}` and three loops in one another never end, and no check of its
text tells. Sandboxed as well: it reaches what it is given and nothing else, and any other name is an error.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlcls.articles import article
from vlcls.errors import VlclsError

#: Seconds for a template, and for each row of values; bytes of its process; characters of one text, of all.
SECONDS, SECONDS_A_ROW = 20.0, 0.01
MEMORY = 1 << 30
LONGEST, LONGEST_OF_ALL = 100_000, 200_000_000
# Isolated (-I): modules come from where this process has them, never from the folder it happens to run in.
_CHILD = """import json, sys
sys.path[:] = json.loads(sys.argv[1])
from vlcls.sandbox import _main
_main()"""
_BETWEEN = re.compile(r"^---[ \t]*$", re.MULTILINE)


class TemplateFault(Exception):  # noqa: N818
    """What is wrong with a template, and on which line, if that is known."""

    def __init__(self, words: str, line: int | None = None) -> None:
        super().__init__(words)
        self.line = line


def parts_of(text: str) -> int:
    """How many texts a template makes for each row of values."""
    return len(_BETWEEN.split(text))


def filled(text: str, rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The texts of a template for each row of values, in this process: for templates that are our own.

    Args:
        text: A template; lines of `---` separate several.
        rows: Values by name. The filter `a` writes the article before a noun, `capital` a first capital.

    Raises:
        TemplateFault: It cannot be read or filled in, or a text is empty or too long.
    """
    from jinja2 import StrictUndefined, TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    environment.filters["a"] = lambda noun: f"{article(str(noun))} {noun}"
    environment.filters["capital"] = lambda words: str(words)[:1].upper() + str(words)[1:]
    parts = _BETWEEN.split(text)
    templates, first = [], 1
    for part in parts:
        try:
            templates.append((first, environment.from_string(part)))
        except TemplateSyntaxError as error:
            raise TemplateFault(str(error.message), first + error.lineno - 1) from error
        except Exception as error:  # more levels than Python has, for one
            raise TemplateFault(_words(error), first) from error
        first += part.count("\n")
    result, total = [], 0
    for row in rows:
        texts = []
        for first, template in templates:
            try:
                made = template.render(**row).strip()
            except Exception as error:
                line = _line(error)
                raise TemplateFault(_words(error), None if line is None else first + line - 1) from error
            if not made:
                raise TemplateFault("a question is empty", first)
            total += len(made)
            if len(made) > LONGEST or total > LONGEST_OF_ALL:
                raise TemplateFault(f"a question of {len(made):,} characters", first)
            texts.append(made)
        result.append(texts)
    return result


def filled_apart(
    text: str, rows: Sequence[Mapping[str, Any]], where: str, error: type[VlclsError]
) -> list[list[str]]:
    """As `filled`, in a process of its own that is stopped at its limits.

    Raises:
        error: What `filled` raises, or a limit; names `where` and the line.
    """
    seconds = SECONDS + SECONDS_A_ROW * len(rows)
    package = Path(__file__).resolve().parent.parent
    search = json.dumps([str(package), *filter(None, sys.path)])
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD, search], input=json.dumps([text, list(rows)]).encode(),
            capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise error(f"{where}: not filled in after {seconds:.0f} seconds: does a loop never end?") from None
    except OSError as reason:
        raise error(f"{where}: no process to fill it in: {reason}") from reason
    if ended.returncode != 0:
        raise error(f"{where}: filling it in takes more than {MEMORY >> 20} MiB, or broke off")
    texts, words, line = json.loads(ended.stdout)
    if words is not None:
        raise error(f"{where}{'' if line is None else f', line {line}'}: {words}")
    return [list(each) for each in texts]


def _words(error: Exception) -> str:
    words = str(error)[:300] or "no more memory"
    return (
        words if not isinstance(error, (RecursionError, MemoryError)) else f"{type(error).__name__}: {words}"
    )


def _line(error: Exception) -> int | None:
    """The line of the template that was being filled in."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def _main() -> None:
    try:
        import resource
    except ImportError:  # Windows: time alone is bounded
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    text, rows = json.loads(sys.stdin.buffer.read())
    try:
        answer: tuple[Any, ...] = (filled(text, rows), None, None)
    except TemplateFault as fault:
        answer = (None, str(fault), fault.line)
    sys.stdout.write(json.dumps(answer))
