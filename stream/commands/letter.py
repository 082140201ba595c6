"""How one dead letter is shown: to a program as JSON, to a person so that the terminal does not obey it."""

import base64
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from stream.commands.output import cell, table, visible

Row = Mapping[str, Any]
_MOST_SHOWN = 65_536  # bytes of a record that a person is shown
_OUTCOMES = ("at", "outcome", "detail")


def document(row: Row, since: Sequence[Row]) -> dict[str, Any]:
    """As JSON: the record is `value`, in base64 where it is not UTF-8; `since` are later outcomes."""
    fields = {name: value for name, value in row.items() if name != "raw"}
    try:
        value, encoding = row["raw"].decode(), "utf-8"
    except UnicodeDecodeError:
        value, encoding = base64.b64encode(row["raw"]).decode(), "base64"
    return {**fields, "value": value, "value_encoding": encoding, "since": since}


def show_letter(row: Row, since: Sequence[Row]) -> None:
    """Field by field, then what became of the upload since, then the record."""
    for name, value in row.items():
        if name != "raw" and value is not None:
            text = value.isoformat() if hasattr(value, "isoformat") else cell(value)
            sys.stdout.write(f"{name:>12}  {visible(text)}\n")
    if row["upload_id"] is not None:
        sys.stdout.write("\n")
        table(since, _OUTCOMES, empty="Nothing has become of the upload since.")
    size = len(row["raw"])
    cut = f", the first {_MOST_SHOWN} shown; --json has all" if size > _MOST_SHOWN else ""
    sys.stdout.write(f"\nrecord, {size} bytes{cut}:\n{readable(row['raw'][:_MOST_SHOWN])}\n")


def readable(raw: bytes) -> str:
    """A record's value for the eye: JSON indented, bytes that are no text as \\xNN, no control character."""
    try:
        text = orjson.dumps(orjson.loads(raw), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # what is nested too deeply is read, not written
        text = raw.decode(errors="backslashreplace")
    return visible(text)
