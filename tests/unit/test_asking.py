"""Commands that change much ask a person first, and do nothing where there is none."""

import io

import pytest
import typer

from stream.commands.asking import ask, who
from stream.errors import PixassayError


class Terminal(io.StringIO):
    """A person who has typed an answer."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_only_a_yes_goes_on(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    with pytest.raises(typer.Abort):
        ask("Erase it?", yes=False)


def test_a_yes_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    ask("Erase it?", yes=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ask("Erase it?", yes=True)
    with pytest.raises(PixassayError, match=r"Erase it\? Nobody is there to answer: --yes does it"):
        ask("Erase it?", yes=False)


def test_who_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ana")
    assert (who(" dpo "), who(None), who(" ")) == ("dpo", "ana", "ana")
