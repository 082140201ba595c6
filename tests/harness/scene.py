"""A platform in small: pictures in two stores, a database, and the settings of its workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.embedded import DirectoryStore, S3Store
from stream.settings import Settings, load_settings
from tests.harness.pictures import Picture, pictures
from tests.harness.policy import write_policy
from tests.harness.traffic import Sender


@dataclass(frozen=True, slots=True)
class Scene:
    """Where the pictures lie, and what is known of each."""

    files: list[str]  # file:// URIs
    objects: list[str]  # s3:// URIs
    judged: dict[str, bool]  # URI -> whether the picture decodes

    def sender(self, seed: int) -> Sender:
        return Sender(self.files, self.objects, seed)


def set_scene(directory: DirectoryStore, bucket: S3Store) -> Scene:
    """The same pictures in both stores, and in each one URI behind which there is nothing any more."""
    found = pictures()
    files, objects = (_stored(store, found) for store in (directory, bucket))
    judged = {**files, **objects}
    return Scene(list(files), list(objects), judged)


def _stored(store: DirectoryStore | S3Store, found: Sequence[Picture]) -> dict[str, bool]:
    placed = {store.put(f"in here/{one.name}", one.data): one.judged for one in found}
    return {**placed, f"{next(iter(placed))}-deleted": False}


def worker_settings(folder: Path, variables: dict[str, str], **changes: object) -> Settings:
    """Settings of a worker on two shared cores, with the policy of the tests, from PIXASSAY_* variables."""
    fields: dict[str, object] = {
        "policy": write_policy(folder),
        "topic_partitions": 4,
        "session_timeout_s": 3.0,
        "rebalance_drain_s": 5.0,
        "commit_interval_s": 0.5,
        "threads": 1,
        "decoders": 1,
        "max_bytes": 1_000_000,
        "s3_timeout_s": 5.0,
    }
    given = {name.removeprefix("PIXASSAY_").lower(): value for name, value in variables.items()}
    return load_settings(**{**fields, **given, **changes})
