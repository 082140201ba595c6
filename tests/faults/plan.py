"""What goes wrong and when: drawn from a seed, so that a campaign can be asked for again."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Broker = Literal["tansu", "kafka"]
Deed = Literal["kill", "outage", "join", "leave"]

KILL_EVERY_S = 5.0
OUTAGE_EVERY_S = 8.0
LONGEST_S = 6.0  # of an outage
QUIET_S = 2.0  # between two outages of one part
CHANGES = 0.3  # workers that join or leave in order, per kill

_OUTAGES: dict[str, tuple[str, ...]] = {
    "broker": ("cut", "refuse", "hold", "freeze", "restart", "crash"),
    "database": (
        *("cut", "refuse", "hold", "freeze", "restart", "crash"),
        *("read_only", "disk_full", "lock", "terminate"),
    ),
    "object store": ("cut", "refuse", "hold", "freeze", "restart"),
    "worker": ("freeze",),
}
_LOSES_ITS_DATA = {"restart", "crash"}  # Tansu keeps everything in memory

_MOMENTARY = {"cut", "terminate"}


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """One thing that is done to the service."""

    at: float  # seconds from the start of the campaign
    deed: Deed
    part: str = "worker"
    kind: str = ""  # of an outage
    seconds: float = 0.0  # that an outage lasts
    choice: float = 0.0  # in 0..1: which of the workers


@dataclass(frozen=True, slots=True)
class Plan:
    """All events in order, and how long they take in all."""

    events: tuple[Event, ...]
    seconds: float


def draw(kills: int, outages: int, seed: int, broker: Broker) -> Plan:
    """So many kills and outages at random instants, and workers that come and go between them."""
    pick = random.Random(seed)
    seconds = max(kills * KILL_EVERY_S, outages * OUTAGE_EVERY_S)
    killed = [Event(pick.uniform(0, seconds), "kill", choice=pick.random()) for _ in range(kills)]
    broken = list(_outages(pick, outages, seconds, broker))
    moved = list(_changes(pick, round(CHANGES * kills), seconds))
    last = max((event.at + event.seconds for event in broken), default=0.0)
    return Plan(tuple(sorted([*killed, *broken, *moved])), max(seconds, last))


def _outages(pick: random.Random, count: int, seconds: float, broker: Broker) -> Iterator[Event]:
    """Those of one part never overlap; those of different parts may. Each part gets its share."""
    free_from = dict.fromkeys(_OUTAGES, 0.0)
    parts = (list(_OUTAGES) * (count // len(_OUTAGES) + 1))[:count]
    pick.shuffle(parts)
    for at, part in zip(sorted(pick.uniform(0, seconds) for _ in range(count)), parts, strict=True):
        kinds = [
            kind
            for kind in _OUTAGES[part]
            if not (part == "broker" and broker == "tansu" and kind in _LOSES_ITS_DATA)
        ]
        kind = pick.choice(kinds)
        lasting = 0.0 if kind in _MOMENTARY else pick.uniform(0.3, LONGEST_S)
        event = Event(max(at, free_from[part]), "outage", part, kind, lasting, pick.random())
        free_from[part] = event.at + event.seconds + QUIET_S
        yield event


def _changes(pick: random.Random, count: int, seconds: float) -> Iterator[Event]:
    """Workers that are added and taken away in turn."""
    for number, at in enumerate(sorted(pick.uniform(0, seconds) for _ in range(count))):
        yield Event(at, "leave" if number % 2 else "join", choice=pick.random())
