"""Who runs in `pixassay bench`: the lane, its limit L, and the loop that people write."""

from collections.abc import Sequence
from pathlib import Path

from stream.bench.contest import Contestant
from stream.bench.processor import cores
from stream.bench.torch_program import has_torch
from stream.demo_pictures import Picture
from stream.embedded import Stack
from stream.settings import Settings, child_environment

LANE, LIMIT, NAIVE = "lane", "limit", "naive"


def contestants(
    settings: Settings, stack: Stack, pictures: Sequence[Picture], folder: Path
) -> dict[str, Contestant]:
    """Each by name, not started yet, over the same pictures. Without torch there is no naive loop."""
    files, logs = folder / "files", folder / "logs"
    for place in (files, logs):
        place.mkdir()
    for number, picture in enumerate(pictures):
        (files / f"{number:05}").write_bytes(picture.data)
    uris = [stack.store.put(f"{number:05}", picture.data) for number, picture in enumerate(pictures)]
    judging = judging_variables(settings)
    plain = child_environment(judging)
    lane = child_environment(
        {
            "PIXASSAY_SESSION_TIMEOUT_S": "6",
            "PIXASSAY_KAFKA_SECURITY": "PLAINTEXT",
            **judging,
            **stack.variables,
        }
    )
    made = [
        Contestant(LANE, "stream.bench.lane_worker", {"uris": uris}, logs, lane),
        # A process a core: with one process on all cores the limit was lower.
        Contestant(LIMIT, "stream.bench.limit", {"folder": str(files)}, logs, plain, cores()),
    ]
    if has_torch():
        plan = _naive_plan(settings, stack, uris)
        made.append(Contestant(NAIVE, "trt_build.bench.naive", plan, logs, plain))
    return {each.name: each for each in made}


def judging_variables(settings: Settings) -> dict[str, str]:
    """With what they judge, for their environment: `settings` may have another bundle than ours says."""
    policy = str(settings.policy) if settings.policy else ""  # empty: the bundle's own
    return {"PIXASSAY_BUNDLE": str(settings.bundle), "PIXASSAY_POLICY": policy}


def _naive_plan(settings: Settings, stack: Stack, uris: list[str]) -> dict[str, object]:
    at = stack.settings
    secret = at.s3_secret_key.get_secret_value() if at.s3_secret_key else None
    return {
        "bundle": str(settings.bundle),
        "uris": uris,
        "kafka": at.kafka_bootstrap,
        "database": at.database_url.get_secret_value(),
        "s3": {
            "endpoint_url": at.s3_endpoint,
            "region_name": at.s3_region,
            "aws_access_key_id": at.s3_access_key,
            "aws_secret_access_key": secret,
        },
    }
