"""Names of files, labels and answers reach a terminal or a spreadsheet as text, never as commands."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import vlcls
from vlcls import cli
from vlcls.classifiers import Classification, Prediction
from vlcls.cli.console import Console
from vlcls.cli.output import json_text, write_csv, write_jsonl, write_table
from vlcls.cli.terminal import say, styled
from vlcls.errors import VlclsError, VlclsWarning
from vlcls.files.terminal import printable, printable_json, spreadsheet_safe

#: A title, a colour, a cleared screen, 8-bit CSI, a bell, a direction that turns the line round, a new line.
EVIL = "\x1b]0;owned\x07 \x1b[31mred \x1b[2J \x9b31m \x07 \u202eexe.gpj \r over"
HIDDEN = set("\x1b\x07\x9b\u202e\r\x00\x08")


def harmless(text: str) -> bool:
    return not HIDDEN & set(text)


def results() -> list[Classification]:
    best = (Prediction(EVIL, 0.75, 0, EVIL), Prediction("=cmd|' /C calc'!A0", 0.25, 1, "@SUM(1)"))
    return [Classification(EVIL + ".jpg", best), Classification("-1+1.jpg", (), error=f"{EVIL}: not read")]


@pytest.mark.parametrize("write", [write_table, lambda rows, stream: write_csv(rows, stream, 2), write_jsonl])
def test_no_format_of_results_lets_an_escape_through(write: Any) -> None:
    stream = io.StringIO()
    write(results(), stream)
    assert harmless(stream.getvalue())
    assert "owned" in stream.getvalue()  # shown, not dropped


def test_json_is_exact() -> None:
    stream = io.StringIO()
    write_jsonl(results(), stream)
    first = json.loads(stream.getvalue().splitlines()[0])
    assert (first["image"], first["label"], first["id"]) == (EVIL + ".jpg", EVIL, EVIL)


@given(st.text())
def test_any_text_survives_json_and_is_printable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    shown = json_text({"label": text}, indent=1)
    assert json.loads(shown) == {"label": text}
    assert printable(shown, lines=True) == shown  # nothing that a terminal would obey
    assert json.loads(printable_json(json.dumps({"label": text}, ensure_ascii=False))) == {"label": text}


def test_a_spreadsheet_runs_no_cell() -> None:
    stream = io.StringIO()
    write_csv(results(), stream, 2)
    rows = list(csv.reader(io.StringIO(stream.getvalue())))
    assert rows[1][6:8] == ["'=cmd|' /C calc'!A0", "'@SUM(1)"]
    assert rows[2][0] == "'-1+1.jpg"
    for start in "=+-@\t\r":
        assert spreadsheet_safe(start + "SUM(A1)").startswith("'")
    assert [spreadsheet_safe(cell) for cell in ("-1.5", "+3", "-inf", "a=b")] == ["-1.5", "+3", "-inf", "a=b"]


def test_messages_and_consoles(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    say(EVIL, " two\nlines ", styled(EVIL, fg="red"))
    say(EVIL, err=True)
    stream = io.StringIO()
    console = Console(file=stream, width=300)
    table = Table(EVIL, "b")
    table.add_row(Text(EVIL), EVIL)
    inner = Table("c")
    inner.add_row(Text(EVIL))
    table.add_row(inner, "x")
    for shown in (EVIL, Text(EVIL, "bold"), table):
        console.print(shown, markup=False)
    with console.status(EVIL):
        pass
    said = capsys.readouterr()
    for text in (said.out, said.err, stream.getvalue()):
        assert harmless(text) and "owned" in text
    assert "two\nlines" in said.out
    assert printable(EVIL) in stream.getvalue()  # whole, in a column that is wide enough for it


def test_errors_warnings_and_typing_mistakes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (VlclsError(EVIL), ValueError(EVIL), OSError(5, EVIL)):
        monkeypatch.setattr(cli, "app", lambda error=error: (_ for _ in ()).throw(error))
        for debug in (False, True):
            monkeypatch.setattr(cli, "_debug", debug)
            with pytest.raises(SystemExit):
                cli.main()
            err = capsys.readouterr().err
            assert harmless(err) and "owned" in err
            assert ("Traceback" in err) is debug
    monkeypatch.undo()
    monkeypatch.setattr(warnings, "showwarning", cli._show_warning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = cli._show_warning  # type: ignore[assignment]
        warnings.warn(EVIL, VlclsWarning, stacklevel=1)
    assert harmless(capsys.readouterr().err)
    for arguments in (
        [EVIL],
        ["classify", "x", f"--{EVIL}"],
        ["classify", "x", "-k", EVIL],
        ["templates", "a", EVIL],
    ):
        done = CliRunner().invoke(cli.app, arguments)
        assert done.exit_code == 2
        assert harmless(done.output)


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be made there")
def test_a_whole_run_over_a_hostile_folder(tmp_path: Path) -> None:
    name = EVIL.replace("/", "_")
    Image.new("RGB", (40, 30), (90, 140, 60)).save(tmp_path / f"{name}.png")
    (tmp_path / f"{name}.jpg").write_text("not an image")
    (tmp_path / f"x.{name}").touch()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "vlcls", "classify", str(tmp_path), "-l", f"cat,{EVIL}", "-e", "conse"]
    for options in ([], ["-f", "csv"], ["-f", "jsonl"]):
        done = subprocess.run([*command, *options], capture_output=True, env=environment)
        assert done.returncode == 3
        assert harmless(done.stdout.decode()) and harmless(done.stderr.decode())
        assert b"owned" in done.stdout and b"owned" in done.stderr


def test_a_terminal_that_lacks_characters_ends_no_command(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(json.dumps({"猫": ["嘴", "尾 — long"]}), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONIOENCODING": "cp1252",
        "PYTHONUTF8": "0",
    }
    program = [sys.executable, "-m", "vlcls", "descriptors"]
    for command in (["validate", "d.json"], ["diff", "d.json", "d.json"], ["show", "d.json"]):
        done = subprocess.run([*program, *command], capture_output=True, env=environment, cwd=tmp_path)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert b"\\u732b" in done.stdout


# ---- nothing passes them by ----------------------------------------------------------------------------

PACKAGE = Path(vlcls.__file__).parent
#: The files that are the way out; and the child process that fills in templates, whose reader is a pipe.
WAY_OUT = {"cli/terminal.py", "cli/console.py", "sandbox.py"}


def calls(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def imports(tree: ast.Module) -> set[str]:
    """Modules imported when the code runs."""
    skipped = {
        inner for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }  # fmt: skip
    return {
        name
        for node in ast.walk(tree)
        if node not in skipped
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom)
            else [each.name for each in node.names] if isinstance(node, ast.Import) else []
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_nothing_passes_the_way_out(path: Path) -> None:
    if str(path.relative_to(PACKAGE)) in WAY_OUT:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    past = {
        "print",
        "typer.echo",
        "typer.secho",
        "typer.style",
        "click.echo",
        "sys.stdout.write",
        "sys.stderr.write",
    }
    assert not calls(tree) & past
    assert not {name for name in imports(tree) if name.startswith("rich.console")}


def test_the_walk_sees_what_it_looks_for() -> None:
    tree = ast.parse("import typer\nfrom rich.console import Console\nprint(1)\ntyper.echo('x')")
    assert {"print", "typer.echo"} <= calls(tree) and "rich.console" in imports(tree)
