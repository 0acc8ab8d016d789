"""The `autofocus` command: verbs, the error boundary, nothing imported that the verb does not need."""

import subprocess
import sys

import pytest
from autofocus_cli import main as cli
from autofocus_core.errors import AutofocusError


def call(*argv: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "autofocus_cli.main", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_help_names_every_verb():
    done = call("--help")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in cli.VERBS)


def test_no_verb_is_an_error_with_usage_on_stderr():
    done = call()
    assert done.returncode == 2
    assert "usage: autofocus VERB" in done.stderr


def test_unknown_verb_says_which_are_allowed():
    done = call("annotat")
    assert done.returncode == 2
    assert "'annotat'" in done.stderr and "annotate" in done.stderr and "fix:" in done.stderr
    assert "Traceback" not in done.stderr


def test_only_autofocus_errors_are_caught(monkeypatch, capsys):
    def verb(argv):
        raise AutofocusError("here", "this", "that", "do so") if argv else ZeroDivisionError("a bug")

    monkeypatch.setattr(cli.Verb, "load", lambda self: verb)
    monkeypatch.setattr(sys, "argv", ["autofocus", "train", "x"])
    assert cli.main() == 2
    assert "fix:     do so" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["autofocus", "train"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_missing_requirement_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(cli.VERBS, "x", cli.Verb("autofocus_cli.no_such_module:main", ""))
    with pytest.raises(AutofocusError, match="make setup"):
        cli.run(["x"])


def test_help_imports_neither_ros_nor_torch():
    code = ("import sys; from autofocus_cli.main import run; run(['--help']); "
            "sys.exit(any(m in sys.modules for m in ('rclpy', 'torch', 'mujoco', 'cv2')))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_results_prints_the_table(tmp_path, capsys):
    (tmp_path / "part.json").write_text(
        '[{"name": "n", "value": 1.5, "unit": "s", "target": "<= 2", "ok": true, "command": "c", "commit": "abc", '
        '"date": "2026-01-01"}]')
    assert cli.run(["results", "part", "--folder", str(tmp_path)]) == 0
    assert "| part | n | 1.5 s | <= 2 | yes | abc |" in capsys.readouterr().out
