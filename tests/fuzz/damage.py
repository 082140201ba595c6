"""One input made of another, with some understanding of what it is: blind damage stops at the first check."""

import random
import zlib
from collections.abc import Sequence
from typing import Any

import orjson

from tests.hostile.mutate import mutated

_PNG = b"\x89PNG\r\n\x1a\n"
_WORDS: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, -(2**63), 1e308, 5e-324),
    *(
        "",
        " ",
        "\x00",
        "\x7f",
        "\U0001f4a9",
        "%",
        "%zz",
        "%00",
        "+",
        "/",
        "..",
        "a" * 300,
        "\u202e",
        "default",
    ),
    *("s3://", "s3:///k", "s3://b/../k", "file:///etc/passwd", "http://b/k", "S3://B/K"),
    *("1969-12-31T23:59:59Z", "9999-12-31T23:59:59+14:00", "2026-11-24", "2026-11-24T12:00:00", "now"),
    *("pixassay.upload/1", "pixassay.upload/2", "pixassay.label/1", "ObjectCreated:", "s3:ObjectCreated:Put"),
    *([], {}, [[]], {"schema": "pixassay.upload/1"}),
)


def damaged_json(data: bytes, others: Sequence[bytes], pick: random.Random) -> bytes:
    """A document changed at some places of its tree; bytes that are none, changed as bytes."""
    try:
        body = orjson.loads(data)
        if pick.random() < 0.9:
            for _ in range(pick.randint(1, 3)):
                body = _changed(body, others, pick)
            return orjson.dumps(body)
    except (orjson.JSONDecodeError, TypeError, RecursionError):
        pass
    return mutated(data or b"{}", others, pick)


def _changed(node: Any, others: Sequence[bytes], pick: random.Random) -> Any:
    """The tree with one thing changed at a random depth."""
    if isinstance(node, dict) and node and pick.random() < 0.8:
        key = pick.choice(list(node))
        match pick.randrange(6):
            case 0:
                return {name: value for name, value in node.items() if name != key}
            case 1:
                return {**node, str(_word(pick)): node[key]}
        return {**node, key: _changed(node[key], others, pick)}
    if isinstance(node, list) and node and pick.random() < 0.8:
        at = pick.randrange(len(node))
        match pick.randrange(6):
            case 0:
                return node[:at] + node[at + 1 :]
            case 1:
                return node + [node[at]] * pick.choice((1, 2, 50))
        return [*node[:at], _changed(node[at], others, pick), *node[at + 1 :]]
    return _new(node, others, pick)


def _new(node: Any, others: Sequence[bytes], pick: random.Random) -> Any:
    match pick.randrange(5):
        case 0 if isinstance(node, str) and node:
            at = pick.randrange(len(node))
            return node[:at] + str(_word(pick)) + node[at + pick.randint(0, 2) :]
        case 1:
            return _nested(node, pick.choice((1, 2, 60, 300)))
        case 2:
            return orjson.loads(pick.choice(others) or b"null")
    return _word(pick)


def _nested(node: Any, depth: int) -> Any:
    """Inside so many lists."""
    for _ in range(depth):
        node = [node]
    return node


def _word(pick: random.Random) -> Any:
    return pick.choice(_WORDS)


def damaged_picture(data: bytes, others: Sequence[bytes], pick: random.Random) -> bytes:
    """A file damaged as in the corpus of hostile files; the checksums of a PNG hold again, mostly."""
    broken = mutated(data or b"\0", others, pick)
    return with_checksums(broken) if pick.random() < 0.8 else broken


def with_checksums(data: bytes) -> bytes:
    """A PNG with right checksums, however long its chunks claim to be; anything else as it is."""
    if not data.startswith(_PNG):
        return data
    parts, at = [_PNG], len(_PNG)
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + size]
        if at + 12 + size > len(data):
            break
        parts += [data[at : at + 4], body, zlib.crc32(body).to_bytes(4, "big")]
        at += 12 + size
    return b"".join([*parts, data[at:]])
