"""Change one thing at a time in the formulas, and see whether a test fails.

    python benchmarks/mutants.py [ROOM or file ...] [--sample 200] [--seed 0]

A mutant is the package with one constant, comparison, operator, bound or clamp changed. It is killed if a
test fails, or takes far longer than it should. A first run without changes notes which tests reach which
line; a mutant meets those that reach it. Mutants are made in a copy of the tree, one process each, forked
from one that has the libraries in memory already.

Prints each survivor with its line, and the share killed of each file. `mutants_equivalent.txt` lists changes
that no result shows (speed alone, say), each with the reason. Exit code 1 if less than --least of the others
are killed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vlcls"
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.txt")

#: The rooms with maths: their files, and the tests that are meant to hold them.
ROOMS: dict[str, tuple[str, str]] = {
    "binomial": ("binomial.py", "binomial"),
    "classifiers": (
        "classifiers/*.py",
        "constants scorers weighting cased candidates wide_names waffle classifiers given_images audit",
    ),
    "prompts": ("prompts/*.py", "constants prompts prompt_descriptors waffle learned_prompts scorers"),
    "conse": ("encoders/conse.py", "constants conse"),
    "explain": (
        "explain/*.py explain/heatmaps/*.py",
        "constants explain audit out_of_fold names heatmaps heatmap_patches heatmap_use scorers weighting "
        "reasons learning",
    ),
    "learning": ("learning/*.py", "constants learning names"),
    "metrics": (
        "evaluation/metrics/*.py",
        "constants metrics metric_entries intervals significance robustness rationales reasons "
        "vocabulary_free_metrics",
    ),
    "bias": ("bias/*.py", "constants bias bias_ends intervals bias_failures bias_summary out_of_fold"),
}
#: What reads, writes and draws: other tests' matter.
NO_MATHS = ("__init__", "saved", "overlay", "picture", "sheet", "checkpoint", "memory", "report", "planted")
#: A mutant's tests may take this many times as long as the same tests without a change, plus so many seconds.
SLOWER, GRACE = 5, 20

OTHER: dict[type[ast.AST], Any] = {
    ast.Lt: ast.LtE, ast.Gt: ast.GtE, ast.Eq: ast.NotEq, ast.In: ast.NotIn, ast.Is: ast.IsNot,
    ast.Add: ast.Sub, ast.Mult: ast.Div, ast.And: ast.Or, ast.BitAnd: ast.BitOr,
}  # fmt: skip
OTHER |= {other: one for one, other in OTHER.items()} | {ast.FloorDiv: ast.Div, ast.Pow: ast.Mult}
SWAPPED = {"min": "max", "amin": "amax", "minimum": "maximum", "argmin": "argmax"}
SWAPPED |= {other: one for one, other in SWAPPED.items()}


@dataclass
class Mutant:
    """One change: the whole changed source, and what to show of it."""

    file: str  # under vlcls/
    source: bytes
    lines: range  # of the change; 1 is the first
    key: tuple[str, str, str]  # file, line before, line after


# ---- changes ----------------------------------------------------------------------------------------------


def changes(node: ast.AST) -> Iterator[str]:
    """Other source texts for a node."""
    text = ast.unparse
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            yield from map(repr, [value + 1, value - 1] if value == int(value) else [value * 2])
        case ast.Compare(left=left, ops=[one], comparators=[right]) if type(one) in OTHER:
            yield text(ast.Compare(left, [OTHER[type(one)]()], [right]))
        case ast.BinOp(left=left, op=one, right=right) if type(one) in OTHER:
            yield text(ast.BinOp(left, OTHER[type(one)](), right))
        case ast.BoolOp(op=one, values=values):
            yield text(ast.BoolOp(OTHER[type(one)](), values))
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield text(operand)
        case ast.Call(func=ast.Name(id="sorted"), args=[first, *_]):
            yield f"list({text(first)})"
        case ast.Call(func=ast.Name(id="abs" | "round"), args=[first, *_]):
            yield text(first)
        case ast.Call(func=ast.Attribute(value=value, attr="clamp" | "clamp_" | "clip"), args=args):
            yield text(args[0] if isinstance(value, ast.Name) and value.id == "np" else value)
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="sort"))):
            yield "pass"
        case ast.Slice(lower=lower, upper=ast.expr() as upper) if not isinstance(upper, ast.Constant):
            yield f"{text(lower) if lower else ''}:{text(upper)} - 1"
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in SWAPPED:
            yield text(node)[: -len(name)] + SWAPPED[name]


def mutable(node: ast.AST) -> Iterator[ast.AST]:
    """What is under a node; not texts of errors, annotations, decorators, how much is in memory at once."""
    skipped = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    for child in ast.iter_child_nodes(node):
        texts = isinstance(child, ast.Raise | ast.JoinedStr | ast.Assert)
        memory = isinstance(child, ast.Assign) and ast.unparse(child.targets[0]).endswith("_AT_ONCE")
        if not (texts or memory) and child not in [*skipped, *getattr(node, "decorator_list", [])]:
            yield child
            yield from mutable(child)


def mutants_of(path: Path) -> Iterator[Mutant]:
    source, name = path.read_bytes(), path.relative_to(PACKAGE).as_posix()
    lines = source.splitlines(keepends=True)
    starts = [sum(map(len, lines[:row])) for row in range(len(lines))]
    for node in mutable(ast.parse(source)):
        for new in changes(node):
            assert isinstance(node, ast.expr | ast.stmt) and node.end_lineno and node.end_col_offset
            begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1]
            # In brackets, as the new text may bind less tightly than the old one.
            inner = new if isinstance(node, ast.Slice | ast.stmt) else f"({new})"
            changed = source[:begin] + inner.encode() + source[end + node.end_col_offset :]
            before, after = (
                whole.decode().splitlines()[node.lineno - 1].strip() for whole in (source, changed)
            )
            yield Mutant(name, changed, range(node.lineno, node.end_lineno + 1), (name, before, after))


# ---- runs -------------------------------------------------------------------------------------------------


class Reached:
    """Plugin for pytest: which tests reach which lines of some files, and how long each test takes."""

    def __init__(self, files: set[str]) -> None:
        #: How the names of the tests begin that what runs now counts for: "" at import.
        self.tests = ""
        self.files, self.seconds = files, dict[str, float]()
        self.lines: dict[tuple[str, int], set[str]] = defaultdict(set)

    def trace(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in self.files:
            return None
        self.lines[frame.f_code.co_filename, frame.f_lineno].add(self.tests)
        return self.trace

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        start, self.tests = time.monotonic(), item.nodeid
        threading.settrace(self.trace)
        sys.settrace(self.trace)
        result = yield
        self.seconds[item.nodeid], self.tests = time.monotonic() - start, ""
        return result  # type: ignore[return-value]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        before = self.tests
        self.tests = {"session": "", "module": before.partition("::")[0]}.get(fixturedef.scope, before)
        result = yield
        self.tests = before
        return result  # type: ignore[return-value]


class Chosen:
    """Plugin for pytest: runs some tests alone, the fastest files and tests first."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.seconds]
        of_file: dict[Path, float] = defaultdict(float)
        for item in items:
            of_file[item.path] += self.seconds[item.nodeid]
        items.sort(key=lambda item: (of_file[item.path], str(item.path), self.seconds[item.nodeid]))


def forked(work: Callable[[], int], limit: float) -> int | None:
    """Exit code of some work in a process of its own; None if it took longer than `limit` seconds."""
    child = os.fork()
    if not child:
        os.setsid()
        code = 1
        with contextlib.suppress(BaseException):
            code = work()
        os._exit(code)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


class Room:
    """A copy of the tree, and what a run without changes, which must pass, says of the room's tests."""

    def __init__(self, tree: Path, tests: str, paths: list[Path]) -> None:
        self.tree = tree
        files = [f"tests/test_{name}.py" for name in tests.split()]
        subprocess.run(
            "git ls-files -zco --exclude-standard | xargs -0 cp --parents -t " + str(tree),
            cwd=ROOT,
            shell=True,
        )
        plugin = Reached({str(tree / path.relative_to(ROOT)) for path in paths})
        if forked(lambda: self._traced(files, plugin), 3600):
            sys.exit((tree / "output.txt").read_text(errors="replace")[-3000:])
        self.lines, self.seconds, loaded = pickle.loads((tree / "reached.pickle").read_bytes())
        for name in loaded:
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    def run(self, files: list[str], plugin: object) -> int:
        """Tests of the copy, silently; in a forked process."""
        os.chdir(self.tree)
        sys.path[:0] = [str(self.tree), str(self.tree / "tests")]
        os.environ |= {"PYTHONPATH": str(self.tree), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        for stream in (1, 2):
            os.dup2(os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        options = ["-x", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "--basetemp=temporary"]
        return int(pytest.main([*options, *files], plugins=[plugin]))

    def _traced(self, files: list[str], plugin: Reached) -> int:
        sys.dont_write_bytecode = False
        sys.settrace(plugin.trace)
        code = self.run(files, plugin)
        sys.settrace(None)
        ours = str(self.tree)
        loaded = [
            name for name, one in sys.modules.items() if ours not in str(getattr(one, "__file__", ours))
        ]
        Path("reached.pickle").write_bytes(pickle.dumps((dict(plugin.lines), plugin.seconds, loaded)))
        return code

    def survives(self, mutant: Mutant) -> bool:
        path = self.tree / "vlcls" / mutant.file
        starts = tuple({start for line in mutant.lines for start in self.lines.get((str(path), line), ())})
        seconds = {name: took for name, took in self.seconds.items() if name.startswith(starts)}
        files = sorted({test.partition("::")[0] for test in seconds})
        original, status = path.read_bytes(), path.stat()
        path.write_bytes(mutant.source)
        os.utime(path, (0, 0))  # the byte code of the original is not taken for it
        limit = SLOWER * sum(seconds.values()) + GRACE
        survives = not files or forked(lambda: self.run(files, Chosen(seconds)), limit) == 0
        path.write_bytes(original)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return survives


# ---- the command ------------------------------------------------------------------------------------------


def files_of(room: str, wanted: list[str]) -> list[Path]:
    found = sorted({path for pattern in ROOMS[room][0].split() for path in PACKAGE.glob(pattern)})
    found = [path for path in found if path.stem not in NO_MATHS]
    return (
        found
        if not wanted or room in wanted
        else [path for path in found if str(path).endswith(tuple(wanted))]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("wanted", nargs="*", help="rooms (" + ", ".join(ROOMS) + ") or files under vlcls/")
    parser.add_argument("--sample", type=int, help="so many mutants of each room, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least", type=float, default=0.95, help="share that must be killed")
    chosen = parser.parse_args()
    sys.dont_write_bytecode, os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = True, "1"
    known = {tuple(line.split(" | ")[:3]) for line in EQUIVALENT.read_text().splitlines() if " | " in line}
    figures: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])  # killed, survived, equivalent
    for room, (_, tests) in ROOMS.items():
        if not (paths := files_of(room, chosen.wanted)):
            continue
        mutants = [mutant for path in paths for mutant in mutants_of(path)]
        if chosen.sample and chosen.sample < len(mutants):
            mutants = random.Random(chosen.seed).sample(mutants, chosen.sample)
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            place = Room(Path(folder).resolve(), tests, paths)
            print(f"{room}: {len(mutants)} mutants, {len(place.seconds)} tests", flush=True)
            for mutant in sorted(mutants, key=lambda each: (each.file, each.lines.start)):
                equivalent = mutant.key in known
                survived = not equivalent and place.survives(mutant)
                figures[mutant.file][2 if equivalent else int(survived)] += 1
                if survived:
                    print(*mutant.key, f"line {mutant.lines.start}", sep=" | ", flush=True)
    figures["all"] = [sum(column) for column in zip(*figures.values(), strict=True)]
    for name, (killed, survived, equivalent) in figures.items():
        print(f"| {name} | {killed + survived} | {killed / max(1, killed + survived):.1%} | {equivalent} |")
    killed, survived, _ = figures["all"]
    sys.exit(killed < chosen.least * (killed + survived))


if __name__ == "__main__":
    main()
