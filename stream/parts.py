"""Makes the parts of a worker from the settings, in the order in which they depend on each other."""

import asyncio
import functools
import os

from models.bundle import load_bundle
from stream.decide import Judge
from stream.decode_pool import DecodePool, limits_of
from stream.detect import Detector
from stream.drift import reference_of
from stream.engines.choose import load_engine
from stream.fetch import Fetcher
from stream.measures import MeasuredEngine
from stream.policy import load_policy
from stream.retry import persist
from stream.settings import Settings
from stream.steps import Parts, Recheck, Steps
from stream.store import Store
from stream.telemetry import Telemetry


async def load_parts(settings: Settings, telemetry: Telemetry) -> Parts:
    """Load and check everything; an absent database is waited for.

    Raises ConfigError and BundleError. The engine has reproduced its golden logits when this returns.
    """
    bundle = await asyncio.to_thread(load_bundle, settings.bundle)
    policy = load_policy(settings.policy, bundle.manifest)
    telemetry.drift = reference_of(bundle.manifest)
    store = Store(settings.database_url.get_secret_value())
    await persist(functools.partial(asyncio.to_thread, store.open, bundle, policy), telemetry)
    engine = MeasuredEngine(await asyncio.to_thread(load_engine, bundle, settings), telemetry.measures)
    decoders = settings.decoders or os.cpu_count() or 1
    decoder = await asyncio.to_thread(DecodePool, bundle.manifest.views, limits_of(settings), decoders)
    detector = Detector(engine, settings.max_batch, settings.max_wait_ms)
    judge = Judge(bundle.manifest, policy)

    async def close() -> None:
        await detector.close()
        await asyncio.to_thread(decoder.close)
        engine.close()
        store.close()

    steps = Steps(
        fetch=Fetcher(settings).fetch,
        decode=decoder.submit,
        score=detector.score,
        judge=judge.judge,
        unable=judge.unable,
        write=store.write,
        bury=store.bury,
        recheck=_recheck(judge, decoder),
    )
    telemetry.about = {
        "bundle": bundle.manifest.name,
        "policy": policy.id,
        "engine": engine.name,
        "precision": engine.precision,
    }
    described = f"bundle {bundle.manifest.name} ({bundle.id}) on {engine.name} {engine.precision}"
    return Parts(steps, store.label, bundle.id, decoders, described, close)


def _recheck(judge: Judge, decoder: DecodePool) -> Recheck | None:
    if judge.recheck is None:
        return None
    return Recheck(judge.doubtful, functools.partial(decoder.submit, resave=judge.recheck))
