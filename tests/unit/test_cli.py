"""The console command: quick help, clear words, exit statuses."""

import subprocess
import sys
from pathlib import Path

import pytest

from stream import cli


def pixassay(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "stream", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )


def test_help_names_every_command() -> None:
    answer = pixassay("--help")
    assert answer.returncode == 0
    assert [name for name in cli.COMMANDS if name not in answer.stdout] == []


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_explains_itself(name: str) -> None:
    answer = pixassay(name, "--help")
    assert answer.returncode == 0, answer.stderr
    assert cli.COMMANDS[name].help in answer.stdout or "Usage" in answer.stdout


def test_an_unknown_command_is_usage() -> None:
    answer = pixassay("scroe")
    assert answer.returncode == 2
    assert "scroe" in answer.stderr


def test_a_wrong_setting_is_named_in_one_sentence() -> None:
    answer = pixassay("doctor", PIXASSAY_MAX_BYTES="-1", PIXASSAY_GROUP="")
    assert answer.returncode == 2
    assert answer.stderr.startswith("pixassay: ")
    assert "PIXASSAY_MAX_BYTES" in answer.stderr
    assert "PIXASSAY_GROUP" in answer.stderr
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["calibrate", "--data"], ["evaluate", "--data"], ["export", "--"]])
def test_a_folder_without_pictures_or_a_run_is_told_in_one_sentence(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name, *option = command
    rest = [str(tmp_path), str(tmp_path / "out")] if name == "export" else [str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["model", name, *option, *rest])
    assert stopped.value.code == cli.FAILURE
    said = capsys.readouterr().err
    assert said.startswith("pixassay: ")
    assert str(tmp_path) in said
    assert said.count("\n") == 1


def test_a_command_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "model", cli.Command("torch_that_is_absent", "app", "", extra="train"))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["model", "show"])
    assert stopped.value.code == cli.USAGE


def test_a_command_that_misses_its_extra_once_it_runs_says_so_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "lazy_command.py").write_text("def app() -> None:\n    import torch_that_is_absent\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "model", cli.Command("lazy_command", "app", "", extra="train"))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["model"])
    assert stopped.value.code == cli.USAGE
    assert "torch_that_is_absent, which is in the `train` extra" in capsys.readouterr().err


def test_help_imports_no_heavy_library() -> None:
    probe = (
        "import sys; from stream.cli import build; build(None);"
        "heavy = ('torch', 'openvino', 'boto3', 'sqlalchemy', 'faust');"
        "print([name for name in heavy if name in sys.modules])"
    )
    seen = subprocess.run([sys.executable, "-P", "-c", probe], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
