"""Decode, detect and decide as one: the path of a picture without Kafka or a database around it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from models.bundle import Bundle, load_bundle
from stream.decide import Judge
from stream.decode_pool import DecodePool, limits_of
from stream.detect import Detector
from stream.engines.choose import load_engine
from stream.errors import CannotEvaluate
from stream.policy import load_policy
from stream.settings import Settings
from stream.types import Judgement, PictureFacts, fields_of


@dataclass(frozen=True, slots=True)
class Scorer:
    """Judges the bytes of pictures, many at a time."""

    bundle: Bundle
    judge: Judge
    pool: DecodePool
    detector: Detector
    width: int  # pictures that keep all of it busy

    async def score(self, data: bytes, tenant: str) -> tuple[Judgement, PictureFacts | None]:
        """The judgement on one picture, and what its file says of itself (None: it could not be decoded).

        Raises Outage where a decoding process or the engine cannot be had.
        """
        try:
            views = await asyncio.wrap_future(self.pool.submit(data))
        except CannotEvaluate as error:
            return self.judge.unable(error), None
        logits, copy = await self.detector.score(views.arrays), None
        if self.judge.recheck is not None and self.judge.doubtful(logits, tenant, views.faces):
            try:
                again = await asyncio.wrap_future(self.pool.submit(data, self.judge.recheck))
            except CannotEvaluate as error:  # say, its time ran out
                return self.judge.unable(error), views.facts
            copy = await self.detector.score(again.arrays)
        return self.judge.judge(logits, tenant, copy, views.faces), views.facts


@asynccontextmanager
async def scorer(settings: Settings) -> AsyncIterator[Scorer]:
    """A scorer by the settings. Raises ConfigError and BundleError before anything is scored."""
    bundle = await asyncio.to_thread(load_bundle, settings.bundle)
    policy = load_policy(settings.policy, bundle.manifest)
    processes = settings.decoders or os.cpu_count() or 1
    pool = DecodePool(bundle.manifest.views, limits_of(settings), processes)
    try:
        engine = await asyncio.to_thread(load_engine, bundle, settings)
        detector = Detector(engine, settings.max_batch, settings.max_wait_ms)
        judge = Judge(bundle.manifest, policy)
        yield Scorer(bundle, judge, pool, detector, processes + 2 * settings.max_batch)
        await detector.close()
        engine.close()
    finally:
        await asyncio.to_thread(pool.close)


def score_line(path: str, judgement: Judgement, facts: PictureFacts | None, bundle: Bundle) -> dict[str, Any]:
    """One picture as `pixassay score --json` prints it."""
    return {
        "path": path,
        "verdict": judgement.verdict,
        "score": judgement.score,
        "logits": dict(judgement.logits),
        "reasons": [str(reason) for reason in judgement.reasons],
        **fields_of(facts),
        "bundle": bundle.id,
        "policy": judgement.policy,
    }
