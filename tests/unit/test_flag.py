"""Records of dead letters: whole where a broker takes them, without the value where it would not."""

import base64

import pytest

from stream.flag import LARGEST_RECORD, dead_of
from stream.reasons import Reason
from stream.types import DeadLetter, Origin

BROKERS_TAKE = 1_048_588  # message.max.bytes of Apache Kafka, by default, with the record's overhead


def letter(raw: bytes) -> DeadLetter:
    return DeadLetter(Origin("uploads", 1, 2), Reason.BAD_JSON, "not JSON", raw)


def test_text_stays_text_and_bytes_become_base64() -> None:
    assert (dead_of(letter(b"{n\xc3\xb6")).value, dead_of(letter(b"{")).value_encoding) == ("{nö", "utf-8")
    binary = dead_of(letter(b"\xff\x00"))
    assert (base64.b64decode(binary.value), binary.value_encoding) == (b"\xff\x00", "base64")


@pytest.mark.parametrize("raw", [b"x" * 2**20, b"\x01" * 300_000, b'"' * 500_000, b"\xff" * 800_000])
def test_a_value_that_no_broker_would_take_is_left_out(raw: bytes) -> None:
    dead = dead_of(letter(raw))
    assert len(dead.to_bytes()) < LARGEST_RECORD < BROKERS_TAKE
    assert (dead.value, dead.detail) == ("", f"not JSON (value of {len(raw)} bytes left out here)")


def test_a_large_value_that_fits_is_kept() -> None:
    assert dead_of(letter(b"x" * 800_000)).value == "x" * 800_000
