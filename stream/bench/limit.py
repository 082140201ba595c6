"""L, the limit of a lane: the same files through decode, views and engine in one tight loop.

No broker, no store, no database, no processes of their own for decoders: what is left is the work that no
lane can leave out. As a program it is one contestant (stream/bench/contest.py).
"""

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.bundle import load_bundle
from stream.bench.contest import serve
from stream.bench.processor import cores
from stream.decode import decode
from stream.decode_pool import limits_of
from stream.engines.choose import load_engine
from stream.engines.cpu_plan import best_plan
from stream.settings import load_settings
from stream.types import Views


def main(folder: Path) -> None:
    """Serve, on one thread: there is a process of this program for each core."""
    settings = load_settings()
    bundle = load_bundle(settings.bundle)
    plan = best_plan(bundle, cores(), settings.max_batch, settings.engines)  # batches as the lane has them
    engine = load_engine(bundle, load_settings(threads=1, max_batch=plan.batch))
    limits, views = limits_of(settings), bundle.manifest.views
    files = itertools.cycle(file.read_bytes() for file in sorted(folder.iterdir()))
    size = engine.buckets[-1]

    def work(count: int) -> None:
        for wanted in _batches(count, size):
            made = [decode(data, views, limits) for data in itertools.islice(files, wanted)]
            engine.score({view.name: _joined(made, view.name) for view in views})

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
