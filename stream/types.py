"""The small frozen types that steps hand to each other, in the order in which they appear."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream.events import Upload
from stream.reasons import Reason

Verdict = Literal["authentic", "suspicious", "synthetic", "not_applicable", "unable_to_evaluate"]
FLAGGED: frozenset[Verdict] = frozenset({"suspicious", "synthetic"})


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Job:
    """One upload on its way through the pipeline."""

    upload: Upload
    origin: Origin
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes of one picture, whole."""

    data: bytes
    sha256: str  # lower-case hex of data


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What the decoder read from the file, before any view was made."""

    format: str  # "JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF"
    width: int  # pixels, after EXIF orientation
    height: int
    frames: int  # in the file, not how many were sampled


def fields_of(facts: PictureFacts | None) -> dict[str, str | int | None]:
    """Every field by its name; all None where nothing could be read."""
    return {field.name: getattr(facts, field.name, None) for field in fields(PictureFacts)}


@dataclass(frozen=True, slots=True)
class Views:
    """What the detectors see of one picture: every view of every sampled frame."""

    facts: PictureFacts
    arrays: Mapping[str, NDArray[np.uint8]]  # view name -> [F, H, W, 3], F = sampled frames
    faces: NDArray[np.bool_]  # [F]: whether the frame's face views show a face, and not the whole frame


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the policy says of one picture."""

    verdict: Verdict
    score: float | None  # fused probability of synthetic in 0..1 (models.resave.with_copy); None: not judged
    logits: Mapping[str, float | None]  # detector name -> raw logit of the deciding frame
    reasons: tuple[Reason, ...]
    policy: str  # id of the policy that decided


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that is stored about one judged upload: one row of `verdicts`."""

    job: Job
    judgement: Judgement
    bundle: str  # bundle id
    verdict_id: str  # UUIDv5 of tenant, upload_id and bundle: the same on every replay
    decided_at: datetime
    latency_ms: int  # from received_at to decided_at
    sha256: str | None = None  # None where the bytes could not be had
    facts: PictureFacts | None = None  # None where the picture could not be decoded


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that got no verdict, and why."""

    origin: Origin
    reason: Reason
    detail: str
    raw: bytes  # the record's value as it came; of an S3 notification of several objects, this one's part
    attempts: int = 1
    upload: Upload | None = None  # where the record could be read that far
    index: int = 0  # which part of the record it is, where one record announces several uploads
