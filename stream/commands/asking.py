"""What commands that change much have in common: they ask first, and they note who it was."""

import getpass
import sys

import typer

from stream.errors import PixassayError


def ask(question: str, yes: bool) -> None:
    """Return where the answer is yes, or `yes` says so beforehand. Ends the command where it is no.

    Raises PixassayError where nobody is there to answer.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise PixassayError(f"{question} Nobody is there to answer: --yes does it")
    typer.confirm(question, abort=True)


def who(stated: str | None) -> str:
    """Who does it: as stated, or else the name that this user has logged in with. Raises PixassayError."""
    if stated and stated.strip():
        return stated.strip()
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise PixassayError("this user has no name here; say with --by who does it") from error
