"""The package keeps its shape: imports point one way, files stay short, `import vlcls` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlcls

PACKAGE = Path(vlcls.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PARTS = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in MODULES}

#: What each part of the package may import of the others. Parts that are not here (the demo, the doctor,
#: readers of files) may import anything but the command line.
ALLOWED = {
    "errors": set(),
    "binomial": set(),
    "image_sources": {"errors"},
    "images": {"errors", "image_sources"},
    "imagenet": set(),
    "limits": set(),
    "labels": {"errors"},
    "store": {"errors"},
    "encoders": {"errors", "imagenet", "images", "image_sources"},
    "data": set(),
    "articles": set(),
    "specs": {"errors"},
    "wordnet": {"errors"},
    "descriptors": {"errors", "labels", "limits", "store", "data", "articles", "wordnet"},
    "prompts": {
        *("errors", "imagenet", "labels", "limits", "data", "articles", "wordnet", "descriptors", "specs"),
    },
    "decisions": {"errors", "labels", "limits", "binomial"},
    "embeddings": {"errors", "store", "encoders", "images", "image_sources"},
    "slots": {"errors", "encoders"},
    "retrieval": {"errors", "store", "encoders", "embeddings", "wordnet"},
    "classifiers": {
        *(
            "errors",
            "labels",
            "specs",
            "store",
            "encoders",
            "descriptors",
            "prompts",
            "embeddings",
            "images",
            "image_sources",
        ),
        *("limits", "retrieval", "slots", "wordnet", "articles"),
    },
    "evaluation": {
        *(
            "errors",
            "labels",
            "data",
            "store",
            "encoders",
            "descriptors",
            "prompts",
            "embeddings",
            "images",
            "image_sources",
        ),
        *("classifiers", "explain", "labelled", "editing", "binomial", "imagenet", "wordnet", "demo"),
        *("specs", "retrieval", "decisions"),
    },
    "results": {"errors", "images", "image_sources"},
    "labelled": {"errors", "labels", "store", "encoders", "embeddings", "images", "image_sources"},
    "learning": {*("errors", "labels", "store", "encoders", "prompts", "slots", "classifiers", "labelled")},
    "bias": {
        *("errors", "labels", "labelled", "binomial", "descriptors", "prompts", "classifiers", "explain"),
        *("editing", "evaluation"),
    },
}
#: Reading and writing files, checks of arguments, and registries of parts: open to all parts.
for allowed in ALLOWED.values():
    allowed |= {"files", "arguments", "registry"}
ALLOWED["files"] = ALLOWED["arguments"] = ALLOWED["registry"] = {"errors"}
COMMAND_LINE = {"cli", "__main__", "__init__"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Full names of everything a file imports when it runs, inside functions too."""
    for node in ast.iter_child_nodes(tree):
        if is_for_types_only(node):
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{name.name}" for name in node.names)
        yield from imported(node, package)


def parts_imported(path: Path) -> set[str]:
    package = ("vlcls", *path.relative_to(PACKAGE).parts[:-1])
    names = imported(ast.parse(path.read_text(encoding="utf-8")), package)
    parts = (name.split(".")[1:2] for name in names if name.split(".")[0] == "vlcls")
    return {part[0] for part in parts if part and part[0] in PARTS}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path):
    part = part_of(path)
    others = parts_imported(path) - {part}
    if part in ALLOWED:
        assert others <= ALLOWED[part]
    elif part not in COMMAND_LINE:
        assert not others & COMMAND_LINE


#: What the rooms of the evaluation may import of one another; a run imports all.
ROOMS: dict[str, set[str]] = {"metrics": set(), "data": {"metrics"}, "report": {"metrics"}}


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_of_the_evaluation_point_one_way(room: str):
    for path in (PACKAGE / "evaluation" / room).glob("*.py"):
        names = imported(ast.parse(path.read_text(encoding="utf-8")), ("vlcls", "evaluation", room))
        rooms = {name.split(".")[2] for name in names if name.startswith("vlcls.evaluation.")}
        assert rooms - {room} <= ROOMS[room], path.name


def test_the_walk_sees_every_way_to_import():
    code = """
import vlcls.images
from vlcls import store as s
from vlcls.labels import Labels
from ..prompts import Prompt
from .base import Encoder
if TYPE_CHECKING:
    from vlcls.cli import main
def f():
    import vlcls.embeddings as e
"""
    assert set(imported(ast.parse(code), ("vlcls", "encoders"))) == {
        "vlcls.images",
        "vlcls.store",
        "vlcls.labels.Labels",
        "vlcls.prompts.Prompt",
        "vlcls.encoders.base.Encoder",
        "vlcls.embeddings",
    }
    assert {"errors", "images", "store", "encoders"} <= parts_imported(PACKAGE / "embeddings.py")


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules each of which imports, by way of others, every other one."""
    reached = {name: set(own) for name, own in imports.items()}
    grows = True
    while grows:
        grows = False
        for known in reached.values():
            more = set().union(*(reached[other] for other in known)) - known
            grows = grows or bool(more)
            known |= more
    found = [{name} | {other for other in known if name in reached[other]} for name, known in reached.items()]
    return [group for place, group in enumerate(found) if len(group) > 1 and group not in found[:place]]


def modules_imported(path: Path, known: set[str]) -> set[str]:
    """Modules of the package that a file names in an import, for types and inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in known else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found & known


def test_no_module_needs_one_that_needs_it():
    names = {}
    for path in MODULES:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    known = set(names) - {"vlcls"}  # the front door, which knows where every public name lives
    imports = {name: modules_imported(names[name], known) - {name} for name in known}
    assert sum(map(len, imports.values())) > 1000
    assert circles(imports) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [{"a", "b", "c"}]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_longer_than_400_lines_is_two(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


#: Files that call `json.dumps` itself: for digests, messages and pipes to ourselves. What goes to a file or a
#: terminal goes through `vlcls.files.json_text`, which refuses NaN and infinity.
DUMPS = {
    *("encoders/base.py", "evaluation/metrics/rationale_search.py", "evaluation/run/cells.py"),
    *("evaluation/run/embedded.py", "evaluation/run/methods.py", "evaluation/run/naming.py"),
    *("files/json_text.py", "files/schema.py", "files/terminal.py"),
    *("llm/replies.py", "llm/requests.py", "sandbox.py"),
}


def test_every_json_that_is_written_refuses_what_is_no_number():
    found = set()
    for path in MODULES:
        calls = (
            node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)
        )
        if any(ast.unparse(call) in ("json.dumps", "json.dump", "dumps") for call in calls):
            found.add(path.relative_to(PACKAGE).as_posix())
    assert found <= DUMPS, "write JSON with vlcls.files.json_text, or say in the table what it is for"


def test_no_two_public_classes_share_a_name():
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_public_names():
    assert set(vlcls._HOMES) | {"__version__"} == set(vlcls.__all__)
    for name in vlcls.__all__:
        assert getattr(vlcls, name) is not None
    assert dir(vlcls) == sorted(vlcls.__all__)
    with pytest.raises(AttributeError, match="'no_such_name'"):
        _ = vlcls.no_such_name
    assert {"load_encoder", "build_classifier", "classifier_from_embeddings", "load"} <= set(vlcls.__all__)


@pytest.mark.parametrize(
    "modules", ["vlcls", "vlcls, vlcls.errors, vlcls.labels, vlcls.prompts, vlcls.images"]
)
def test_importing_is_light(modules: str):
    heavy = {"torch", "transformers", "open_clip", "torchvision", "accelerate", "datasets", "inflect", "rich"}
    run = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    assert not heavy & set(run.stdout.split())


def test_the_package_says_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


#: Files of the repository that may be larger than a megabyte, and what for.
LARGE: dict[str, str] = {}


def test_a_file_in_the_repository_is_small_or_listed():
    root = PACKAGE.parent
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout")
    files = [root / name for name in listed.stdout.split("\0") if name]
    assert root / "pyproject.toml" in files
    large = {str(f.relative_to(root)) for f in files if f.is_file() and f.stat().st_size > 1_000_000}
    assert large == set(LARGE)
    assert "*.whl" in (root / ".gitignore").read_text(encoding="utf-8").split()
