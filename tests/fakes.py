"""Stand-ins for the parts behind the pipeline, for faults that real parts do not give on demand."""

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from stream.errors import CannotEvaluate, NotApplicable, Undeliverable
from stream.events import Label, Upload, verdict_id
from stream.reasons import Reason
from stream.steps import Parts, Recheck, Steps
from stream.types import DeadLetter, Fetched, Job, Judgement, Origin, Outcome, PictureFacts, Verdict, Views

BUNDLE = "bundle-1"
POLICY = "policy-1"

Fault = Callable[[str], None]  # called with an upload's URI or id; raises to provoke


def upload(name: str, **fields: object) -> Upload:
    """An upload whose picture is called like it."""
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    return Upload.model_validate(
        {"upload_id": name, "tenant": "t", "uri": f"fake://{name}", "uploaded_at": moment, **fields}
    )


def outcome(name: str, tenant: str = "t", judgement: Judgement | None = None) -> Outcome:
    """A stored verdict: authentic, if nothing else is said."""
    clean = Judgement("authentic", 0.1, {"d": -1.0}, (), POLICY)
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    job = Job(upload(name, tenant=tenant), Origin("uploads", 0, 7), moment)
    return Outcome(job, judgement or clean, BUNDLE, verdict_id(tenant, name, BUNDLE), moment, 250)


def no_fault(_: str) -> None:
    """Everything works."""


class FakeParts:
    """A store in memory, and steps that count their calls. A fault is set by assigning a function.

    A picture called "bad..." cannot be evaluated, "synthetic..." is flagged, all others are clean.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Outcome] = {}
        self.letters: list[DeadLetter] = []
        self.labels: list[Label] = []
        self.reviews: list[Outcome] = []
        self.announced: list[DeadLetter] = []
        self.calls: Counter[str] = Counter()
        self.batches: list[int] = []
        self.fetch_fault: Fault = no_fault
        self.decode_fault: Fault = no_fault
        self.score_fault: Fault = no_fault
        self.write_fault: Fault = no_fault
        self.bury_fault: Fault = no_fault
        self.review_fault: Fault = no_fault
        self.score_delay_s = 0.0
        self.erased: set[str] = set()  # upload ids of which no dead letter is kept
        self.lenient = False  # nothing is flagged any more
        self.rechecks = False  # what would be flagged is scored again on a copy
        self.gate: threading.Event | None = None  # fetches wait until it is set
        self.lock = threading.Lock()

    def fetch(self, item: Upload) -> Fetched:
        with self.lock:
            self.calls["fetch"] += 1
        if self.gate is not None:
            self.gate.wait(30)
        self.fetch_fault(item.upload_id)
        return Fetched(item.upload_id.encode(), "00" * 32)

    def decode(self, data: bytes) -> Future[Views]:
        name, answer = data.decode(), Future[Views]()
        self.calls["decode"] += 1
        try:
            self.decode_fault(name)
            if name.startswith("bad"):
                raise CannotEvaluate(Reason.CORRUPT, name)
            if name.startswith("blank"):
                raise NotApplicable(Reason.BLANK, name)
            pixels = np.full((1, 2, 2, 3), 255 if name.startswith("synthetic") else 0, np.uint8)
            answer.set_result(Views(PictureFacts("PNG", 2, 2, 1), {"global": pixels}, np.zeros(1, np.bool_)))
        except Exception as error:  # noqa: BLE001 - a future carries whatever was raised
            answer.set_exception(error)
        return answer

    def copy(self, data: bytes) -> Future[Views]:
        """Decode a picture saved once more: what was fragile in it is gone."""
        self.calls["copy"] += 1
        return self.decode(b"clean" if b"fragile" in data else data)

    async def score(self, arrays: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.calls["score"] += 1
        self.score_fault("")
        await asyncio.sleep(self.score_delay_s)
        self.calls["scored"] += 1
        return arrays["global"].reshape(len(arrays["global"]), -1)[:, :1].astype(np.float32)

    def judge(
        self,
        logits: NDArray[np.float32],
        tenant: str,
        copy: NDArray[np.float32] | None = None,
        faces: NDArray[np.bool_] | None = None,
    ) -> Judgement:
        logits = logits if copy is None else np.minimum(logits, copy)
        if logits.max() > 0 and not self.lenient:
            return Judgement("synthetic", 0.9, {"d": 1.0}, (Reason.ABOVE_SYNTHETIC,), POLICY)
        return Judgement("authentic", 0.1, {"d": -1.0}, (), POLICY)

    def unable(self, error: CannotEvaluate) -> Judgement:
        verdict: Verdict = "not_applicable" if isinstance(error, NotApplicable) else "unable_to_evaluate"
        return Judgement(verdict, None, {"d": None}, (error.reason,), POLICY)

    def write(self, outcomes: list[Outcome]) -> list[Outcome | Undeliverable | None]:
        with self.lock:
            self.batches.append(len(outcomes))
            for outcome in outcomes:
                self.write_fault(outcome.job.upload.upload_id)
            keys = [(item.job.upload.tenant, item.job.upload.upload_id) for item in outcomes]
            return [self.rows.setdefault(key, item) for key, item in zip(keys, outcomes, strict=True)]

    def bury(self, letters: list[DeadLetter]) -> list[bool]:
        """None is told of that the fakes were told to have erased."""
        with self.lock:
            for letter in letters:
                self.bury_fault(letter.detail)
            kept = [letter.upload is None or letter.upload.upload_id not in self.erased for letter in letters]
            self.letters += itertools.compress(letters, kept)
            return kept

    def label(self, labels: list[Label]) -> None:
        self.write_fault(labels[0].upload_id)
        self.labels += labels

    async def review(self, outcome: Outcome) -> None:
        self.review_fault(outcome.job.upload.upload_id)
        self.reviews.append(outcome)

    async def dead(self, letter: DeadLetter) -> None:
        self.announced.append(letter)

    async def close(self) -> None:
        """Nothing to close."""

    def parts(self) -> Parts:
        """As the worker takes them."""
        again = (
            Recheck(lambda logits, tenant, faces: bool(logits.max() > 0), self.copy)
            if self.rechecks
            else None
        )
        steps = Steps(
            self.fetch, self.decode, self.score, self.judge, self.unable, self.write, self.bury, again
        )
        return Parts(steps, self.label, BUNDLE, 1, "fakes", self.close)


async def until(reached: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a state that nobody announces. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not reached():  # noqa: ASYNC110 - the states looked at have no event
            await asyncio.sleep(0.005)
