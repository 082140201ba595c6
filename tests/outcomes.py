"""Made-up outcomes for tests of what happens after a picture was judged."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from models.bundle import Bundle
from models.spec import DetectorSpec, Manifest, PolicySpec, ViewSpec
from stream.events import Upload, verdict_id
from stream.policy import policy_of_bundle
from stream.types import Job, Judgement, Origin, Outcome, PictureFacts

MANIFEST = Manifest(
    name="by-hand",
    tower="tiny",
    views_version=1,
    views=(ViewSpec(name="global", kind="global", size=224),),
    detectors=(
        DetectorSpec(name="pin_clip", view="global", slope=2.0, intercept=-1.0, weight=0.5),
        DetectorSpec(name="dgs_net", view="global", slope=1.0, intercept=0.0, weight=0.25),
        DetectorSpec(name="masm", view="global", slope=0.5, intercept=0.5, weight=0.0),
    ),
    fusion_bias=-0.5,
    policy=PolicySpec(id="by-hand", suspicious=0.5, synthetic=0.75, basis="arithmetic"),
    golden_tolerance={"f32": 1e-3},
    training={},
    metrics={},
    licences={},
    files={},
)
BUNDLE = Bundle("b0b0b0b0b0b0b0b0", Path(), MANIFEST)
POLICY = policy_of_bundle(MANIFEST)
NOW = datetime.now(UTC).replace(microsecond=250_000)


def outcome(upload_id: str, offset: int = 0, **changes: Any) -> Outcome:
    """A synthetic picture, judged a moment ago. `changes` are fields of any of the types inside."""
    fields: dict[str, Any] = {
        "tenant": "default",
        "uploader_id": "u-1",
        "uri": f"s3://pictures/{upload_id}.jpg",
        "uploaded_at": NOW - timedelta(minutes=5),
        "verdict": "synthetic",
        "score": 0.9,
        "logits": {"pin_clip": 2.5, "dgs_net": -0.125, "masm": 1.0},
        "reasons": (),
        "facts": PictureFacts("JPEG", 640, 480, 1),
        "decided_at": NOW,
        "latency_ms": 42,
        **changes,
    }
    event = {name: fields[name] for name in ("tenant", "uploader_id", "uri", "uploaded_at")}
    upload = Upload(upload_id=upload_id, **event)
    said = {name: fields[name] for name in ("verdict", "score", "logits", "reasons")}
    return Outcome(
        job=Job(upload, Origin("image.uploads", 0, offset), NOW),
        judgement=Judgement(**said, policy=POLICY.id),
        bundle=BUNDLE.id,
        verdict_id=verdict_id(upload.tenant, upload_id, BUNDLE.id),
        decided_at=fields["decided_at"],
        latency_ms=fields["latency_ms"],
        sha256="0" * 64,
        facts=fields["facts"],
    )
