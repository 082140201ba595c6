"""L, the limit of a lane: the same files through decode, views and engine in one tight loop.

What the policy looks at a second time, as a JPEG copy, is looked at twice here as well.

No broker, no store, no database, no processes of their own for decoders: what is left is the work that no
lane can leave out. As a program it is one contestant (stream/bench/contest.py).
"""

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.allocator import keep_freed_memory
from models.bundle import load_bundle
from stream.bench.contest import serve
from stream.bench.processor import cores
from stream.decide import Judge
from stream.decode import decode
from stream.decode_pool import limits_of
from stream.engines.choose import load_engine
from stream.engines.cpu_plan import best_plan
from stream.policy import load_policy
from stream.settings import load_settings
from stream.types import Views


def main(folder: Path) -> None:
    """Serve, on one thread: there is a process of this program for each core."""
    keep_freed_memory()  # as a decoding process does
    settings = load_settings()
    bundle = load_bundle(settings.bundle)
    plan = best_plan(bundle, cores(), settings.max_batch, settings.engines)  # batches as the lane has them
    engine = load_engine(bundle, load_settings(threads=1, max_batch=plan.batch))
    limits, views = limits_of(settings), bundle.manifest.views
    files = itertools.cycle(file.read_bytes() for file in sorted(folder.iterdir()))
    size = engine.buckets[-1]

    judge = Judge(bundle.manifest, load_policy(settings.policy, bundle.manifest))
    waiting: list[Views] = []  # copies, until they fill a batch

    def score(made: list[Views]) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
        return engine.score({view.name: _joined(made, view.name) for view in views})

    def work(count: int) -> None:
        for wanted in _batches(count, size):
            taken = list(itertools.islice(files, wanted))
            made = [decode(data, views, limits) for data in taken]
            logits, start = score(made), 0
            for data, one in zip(taken, made, strict=True):
                end = start + len(one.arrays[views[0].name])  # frames
                if judge.recheck is not None and judge.doubtful(logits[start:end], "bench", one.faces):
                    waiting.append(decode(data, views, limits, judge.recheck))
                start = end
            while len(waiting) >= size:
                score([waiting.pop() for _ in range(size)])

    work(size)  # warm
    serve(work)


def _batches(count: int, size: int) -> Iterator[int]:
    while count > 0:
        yield min(size, count)
        count -= size


def _joined(made: list[Views], name: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.concatenate([one.arrays[name] for one in made])


if __name__ == "__main__":
    main(Path(json.loads(sys.argv[1])["folder"]))
