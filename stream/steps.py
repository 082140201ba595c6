"""The steps as plain functions: what the pipeline calls, without the parts behind them."""

from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.errors import CannotEvaluate, Undeliverable
from stream.events import Label, Upload
from stream.types import DeadLetter, Fetched, Judgement, Outcome, Views


@dataclass(frozen=True, slots=True)
class Recheck:
    """Scoring again on a copy, where the policy asks for it."""

    wanted: Callable[[NDArray[np.float32], str, NDArray[np.bool_]], bool]  # logits, tenant, faces
    copy: Callable[[bytes], Future[Views]]  # decode, of the copy


@dataclass(frozen=True, slots=True)
class Steps:
    """fetch, write and bury block; the others must not. Each raises only from stream/errors.py."""

    fetch: Callable[[Upload], Fetched]
    decode: Callable[[bytes], Future[Views]]
    score: Callable[[Mapping[str, NDArray[np.uint8]]], Awaitable[NDArray[np.float32]]]
    judge: Callable[
        [NDArray[np.float32], str, NDArray[np.float32] | None, NDArray[np.bool_]], Judgement
    ]  # logits, tenant, logits of a copy, faces
    unable: Callable[[CannotEvaluate], Judgement]
    write: Callable[[list[Outcome]], list[Outcome | Undeliverable | None]]  # None: it was erased
    bury: Callable[[list[DeadLetter]], list[bool]]  # False: it was erased
    recheck: Recheck | None = None


class Flags(Protocol):
    """What people are told of; each returns when the broker has it, and raises Outage while it is away."""

    async def review(self, outcome: Outcome) -> None: ...

    async def dead(self, letter: DeadLetter) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a worker is made of, but for Kafka."""

    steps: Steps
    label: Callable[[list[Label]], None]  # blocks, like steps.write, and on the same thread
    bundle_id: str
    decoders: int  # decoding processes
    described: str  # for the line that says that the worker is ready
    close: Callable[[], Awaitable[None]]
