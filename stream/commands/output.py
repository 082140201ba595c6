"""How commands print: JSON lines for programs, tables for people."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text


def json_lines(rows: Iterable[object]) -> None:
    """One JSON object a line; times in RFC 3339, UTC with "Z"."""
    for row in rows:
        sys.stdout.write(orjson.dumps(row, option=orjson.OPT_UTC_Z).decode() + "\n")


def visible(text: str) -> str:
    """Text as a terminal shows it and does not obey: line ends stay, all else that no one sees is escaped.

    That is control characters, and those that turn the direction of writing or take no room.
    """
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in text
    )


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """A table of some columns, or the sentence `empty`. What is shown is never markup, nor obeyed."""
    console = Console()
    if not rows:
        console.print(empty, markup=False)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        number = isinstance(rows[0].get(column), int | float)
        shown.add_column(column.replace("_", " "), justify="right" if number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(visible(cell(row.get(column)))) for column in columns))
    console.print(shown)


def cell(value: object) -> str:
    """One value as people read it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else ""
        case float():
            return f"{value:.4f}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
        case list() | tuple():
            return " ".join(str(item) for item in value)
        case _:
            return str(value)
