"""python -m tests.fuzz.child TARGET [libFuzzer's arguments]: the process in which Atheris runs.

Its own process, because libFuzzer ends the one that it runs in, and so does a decoder that crashes.
"""

import importlib
import random
import sys
from typing import Any

import atheris

# Read with counters in their bytecode: our parsers, and the Python side of Pillow's.
_INSTRUMENTED = {
    "planted": ["tests.fuzz.planted"],
    "events": ["stream.events"],
    "decode": ["PIL", "stream.decode", "stream.decode_formats", "stream.decode_rgb"],
}
_BLIND = 0.2  # share of the inputs that libFuzzer changes by itself, which learns from comparisons


def main(name: str, arguments: list[str]) -> None:
    """Fuzz until libFuzzer's limits or the first finding."""
    with atheris.instrument_imports(include=_INSTRUMENTED[name]):
        target: Any = importlib.import_module("tests.fuzz.targets").TARGETS[name]
    seeds = target.seeds()

    def damage(data: bytes, most: int, seed: int) -> bytes:
        pick = random.Random(seed)
        made = atheris.Mutate(data, most) if pick.random() < _BLIND else target.damage(data, seeds, pick)
        return bytes(made[:most])

    atheris.Setup([sys.argv[0], *arguments], target.check, custom_mutator=damage)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
