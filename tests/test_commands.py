"""What holds for every command: how it is found, how its options are read, what its help shows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer
from test_outputs import commands as all_commands
from typer.testing import CliRunner

from vlcls import cli
from vlcls.cli import app, commands
from vlcls.cli.command import CommandGroup, add_commands

PLACE = Path(cli.__file__).parent
PARTS = sorted(PLACE.rglob("*.py"))
#: A command as another would write it: a file of its own, and no line elsewhere.
TOY = '''
from dataclasses import dataclass
from typing import Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.options import Cache
from vlcls.cli.terminal import say


@dataclass(frozen=True)
class Manner:
    loud: Annotated[bool, typer.Option("--loud", help="Shout.")] = False
    times: Annotated[int, typer.Option(min=1, help="How often.")] = 1
    pause: Annotated[float, typer.Option(help="Seconds between.")] = 0.0


@command()
def greet_all(
    names: Annotated[list[str], typer.Argument(help="Whom.")],
    manner: Annotated[Manner, ("loud", "pause")],
    cache: Cache = True,
) -> None:
    """Say hello to everybody."""
    for name in names:
        for _ in range(manner.times):
            say(f"hello {name}".upper() if manner.loud else f"hello {name}")
'''


@pytest.fixture
def greeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    (tmp_path / "greeting.py").write_text(TOY)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    found = typer.Typer(cls=CommandGroup)
    add_commands(found, commands)
    return found


def test_a_file_is_a_command(greeting: typer.Typer):
    assert len(TOY.splitlines()) < 60
    said = CliRunner().invoke(greeting, ["--help"], env={"COLUMNS": "120"}).output
    listed = re.findall(r"^│ ([a-z]+(?:-[a-z]+)*) ", said, re.M)
    assert listed[:2] == ["classify", "unsort"] and listed[listed.index("learn-names") + 1] == "greet-all"
    assert "Say hello to everybody." in said
    said = CliRunner().invoke(greeting, ["greet-all", "--help"], env={"COLUMNS": "120"}).output
    assert "Shout." in said and "--no-cache" in said and "--times" not in said


def test_the_fields_of_a_dataclass_are_options(greeting: typer.Typer):
    done = CliRunner().invoke(greeting, ["greet-all", "ann", "bob", "--loud"])
    assert done.output == "HELLO ANN\nHELLO BOB\n"
    assert CliRunner().invoke(greeting, ["greet-all", "ann", "--times", "2"]).exit_code == 2
    for number in ("nan", "inf"):
        done = CliRunner().invoke(greeting, ["greet-all", "ann", "--pause", number], env={"COLUMNS": "120"})
        assert done.exit_code == 2 and f"--pause: {number} is no finite number" in done.output


@pytest.mark.parametrize("name", ["", "names", *(name for name, _ in all_commands())])
def test_no_type_stands_beside_a_flag(name: str):
    said = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"}).output
    assert "--help" in said and not re.search("<bool>|BOOLEAN", said)


@pytest.mark.parametrize("path", PARTS, ids=lambda path: str(path.relative_to(PLACE)))
def test_no_function_of_the_command_line_is_longer_than_40_lines(path: Path):
    for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (each.end_lineno or 0) - each.lineno < 40, each.name
