"""Which files beside an ONNX graph hold its weights. Neither torch nor onnx here: a worker has none of them.

A graph is one protobuf message, and such a message ends at 2 GiB. The weights of a larger graph lie in data
files, which its tensors name by `external_data`. Only the fields on the way there are read; weights inside
the graph are stepped over, however many there are. Field numbers are those of onnx.proto.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

# message -> field number -> the message in it
_WITHIN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5  # wire types
_LONGEST = 10  # bytes of a varint


class NoGraphError(Exception):
    """The file is no protobuf message."""


def data_files(graph: Path) -> dict[str, int]:
    """Each data file that the graph names, as it names it, and how many bytes of it are read at least.

    Raises OSError, and NoGraphError.
    """
    found: dict[str, int] = {}
    with graph.open("rb") as stream:
        if not graph.stat().st_size:
            raise NoGraphError
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for entries in _tensors(data):
                if "location" in entries:
                    end = _number(entries, "offset") + _number(entries, "length")
                    found[entries["location"]] = max(end, found.get(entries["location"], 0))
    return found


def _tensors(data: mmap.mmap) -> Iterator[dict[str, str]]:
    """The external_data entries of every tensor that has some."""
    waiting = [("model", 0, len(data))]
    while waiting:
        kind, start, end = waiting.pop()
        entries: dict[str, str] = {}
        for number, first, last in _fields(data, start, end):
            inner = _WITHIN[kind].get(number)
            if inner == "entry":
                texts = {field: data[a:b].decode() for field, a, b in _fields(data, first, last)}
                entries[texts.get(1, "")] = texts.get(2, "")
            elif inner:
                waiting.append((inner, first, last))
        if entries:
            yield entries


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Field number, first and last byte of each field with a length, up to `end`."""
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire == _LENGTH:
            length, at = _varint(data, at, end)
            if at + length > end:
                raise NoGraphError
            yield number, at, at + length
            at += length
        elif wire in (_EIGHT, _FOUR):
            at += 8 if wire == _EIGHT else 4
        else:
            raise NoGraphError
    if at > end:
        raise NoGraphError


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST):
        if at + index >= end:
            break
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise NoGraphError


def _number(entries: dict[str, str], key: str) -> int:
    text = entries.get(key, "0")
    if not (text.isascii() and text.isdigit()):
        raise NoGraphError
    return int(text)
