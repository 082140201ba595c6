"""The corpus: bombs, strangers, polyglots, lying metadata, decoder faults, and mutations up to a number."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from stream.decode import Limits
from tests.hostile.bombs import bombs
from tests.hostile.mutate import mutated
from tests.hostile.sound import odd_palettes, sound_files
from tests.hostile.strangers import lying_metadata, polyglots, strangers

_CUTS = 12  # of each sound file, evenly
# What tests/unit/decoder_faults.py does to the process that gets such a file.
FAULTS = {
    "segfault": "decoder_crashed",
    "kill": "decoder_crashed",
    "exit": "decoder_crashed",
    "defect": "decoder_crashed",
    "hang": "decode_timeout",
}


@dataclass(frozen=True, slots=True)
class Hostile:
    """One file. `reason`: the only reason that may come of it, where that is known."""

    kind: str
    data: bytes
    suffix: str = "jpg"
    reason: str | None = None


def corpus(count: int, seed: int, limits: Limits) -> list[Hostile]:
    """`count` files in a seeded order: one of each made by hand, as far as they go, the rest mutations."""
    pick = random.Random(seed)
    by_hand = list(_by_hand(limits))
    pick.shuffle(by_hand)
    by_hand.sort(key=lambda file: file.kind.split()[0] != "fault")  # these are in every corpus
    files = by_hand[: max(count // 2, 1)] if count < len(by_hand) else by_hand
    files += islice(_mutations(pick), count - len(files))
    pick.shuffle(files)
    return files


def _by_hand(limits: Limits) -> Iterator[Hostile]:
    for name, reason in FAULTS.items():
        yield Hostile(f"fault {name}", f"{name} ".encode(), reason=reason)
    yield Hostile("empty", b"", reason="empty_file")
    for kind, data in strangers().items():
        yield Hostile(f"stranger {kind}", data, reason="unsupported_format")
    for group, made in (
        ("bomb", bombs(limits)),
        ("polyglot", polyglots()),
        ("metadata", lying_metadata()),
        ("palette", odd_palettes()),
    ):
        for kind, data in made.items():
            yield Hostile(f"{group} {kind}", data)
    for kind, data in sound_files().items():
        yield Hostile(f"sound {kind}", data, suffix="exe")
        for step in range(1, _CUTS):
            yield Hostile(f"cut {kind}", data[: len(data) * step // _CUTS])


def _mutations(pick: random.Random) -> Iterator[Hostile]:
    files = [(kind, data) for seed in range(4) for kind, data in sound_files(seed).items()]
    others = [data for _, data in files] + list(strangers().values())
    while True:
        kind, data = pick.choice(files)
        yield Hostile(f"mutation {kind}", mutated(data, others, pick))
