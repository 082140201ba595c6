"""Seeded damage to files, of the kinds that parsers were broken with before."""

import random
from collections.abc import Callable, Sequence

_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0")
_HEADER = 200  # bytes: damage there breaks more than damage to pixels
Damage = Callable[[random.Random, bytearray, Sequence[bytes]], bytearray]


def mutated(data: bytes, others: Sequence[bytes], pick: random.Random) -> bytes:
    """The file after one to four kinds of damage; never empty."""
    broken = bytearray(data)
    for damage in pick.choices(_DAMAGES, k=pick.randint(1, 4)):
        broken = damage(pick, broken, others) or broken
    return bytes(broken)


def _place(pick: random.Random, data: bytearray) -> int:
    reach = min(_HEADER, len(data)) if pick.random() < 0.5 else len(data)
    return pick.randrange(reach)


def _cut(pick: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    return data[: pick.randint(1, len(data))]


def _bytes(pick: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    for _byte in range(pick.randint(1, 16)):
        data[_place(pick, data)] = pick.randrange(256)
    return data


def _bit(pick: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    data[_place(pick, data)] ^= 1 << pick.randrange(8)
    return data


def _extreme(pick: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    at, width = _place(pick, data), pick.choice((1, 2, 4))
    data[at : at + width] = pick.choice(_EXTREMES)[:width]
    return data


def _remove(pick: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    at = _place(pick, data)
    return data[:at] + data[at + pick.randint(1, 400) :]


def _repeat(pick: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    at = _place(pick, data)
    return data[:at] + data[at : at + pick.randint(1, 400)] * pick.randint(2, 20) + data[at:]


def _splice(pick: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    other, at = pick.choice(others), _place(pick, data)
    start = pick.randrange(len(other))
    return data[:at] + other[start : start + pick.randint(1, 2000)] + data[at:]


def _magic(pick: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    return bytearray(pick.choice(others)[:12]) + data[12:]


_DAMAGES: tuple[Damage, ...] = (_cut, _bytes, _bit, _extreme, _remove, _repeat, _splice, _magic)
