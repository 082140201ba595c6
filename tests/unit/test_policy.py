"""Policies: from the bundle or a file, versioned by content, clear about what is wrong."""

from pathlib import Path

import orjson
import pytest

from stream.errors import ConfigError
from stream.policy import load_policy, policy_of_bundle
from tests.outcomes import MANIFEST

WRITTEN = {"name": "eu", "suspicious": 0.6, "synthetic": 0.9, "basis": "1 % of our own photographs"}


def write(folder: Path, **fields: object) -> Path:
    path = folder / "policy.json"
    path.write_bytes(orjson.dumps({**WRITTEN, **fields}))
    return path


def test_without_a_file_the_bundle_decides() -> None:
    policy = load_policy(None, MANIFEST)
    assert (policy.suspicious, policy.synthetic) == (0.5, 0.75)
    assert policy.id.startswith("by-hand-")
    assert policy == policy_of_bundle(MANIFEST)


def test_a_file_replaces_it_and_names_tenants(tmp_path: Path) -> None:
    path = write(tmp_path, tenants={"art": {"suspicious": 0.95, "synthetic": 0.99}})
    policy = load_policy(path, MANIFEST)
    assert policy.thresholds("news").suspicious == 0.6
    assert policy.thresholds("art").synthetic == 0.99
    assert policy.document["tenants"] == {"art": {"suspicious": 0.95, "synthetic": 0.99}}


def test_the_id_follows_the_content(tmp_path: Path) -> None:
    first = load_policy(write(tmp_path), MANIFEST).id
    assert load_policy(write(tmp_path), MANIFEST).id == first
    assert load_policy(write(tmp_path, synthetic=0.91), MANIFEST).id != first
    reordered = tmp_path / "policy.json"
    reordered.write_text(orjson.dumps(dict(reversed(WRITTEN.items()))).decode())
    assert load_policy(reordered, MANIFEST).id == first


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"suspicious": 0.95}, "the suspicious threshold is above the synthetic one"),
        ({"synthetic": 1.5}, "synthetic: Input should be less than or equal to 1"),
        ({"treshold": 1}, "treshold: Extra inputs are not permitted"),
        ({"tenants": {"art": {"suspicious": 0.2}}}, "tenants.art.synthetic: Field required"),
        ({"schema": "pixassay.policy/2"}, "schema: Input should be 'pixassay.policy/1'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, fields: dict[str, object], told: str) -> None:
    path = write(tmp_path, **fields)
    with pytest.raises(ConfigError) as caught:
        load_policy(path, MANIFEST)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.json cannot be read: No such file"):
        load_policy(tmp_path / "absent.json", MANIFEST)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ConfigError, match=r"broken\.json is wrong: the file: Invalid JSON"):
        load_policy(tmp_path / "broken.json", MANIFEST)


def test_what_a_policy_does_not_use_is_no_part_of_its_id(tmp_path: Path) -> None:
    plain = load_policy(write(tmp_path), MANIFEST)
    assert "recheck" not in plain.document
    assert load_policy(write(tmp_path, recheck=None, disagreement=None), MANIFEST).id == plain.id
    wide = load_policy(write(tmp_path, recheck=90, disagreement=4.5), MANIFEST)
    assert (wide.recheck, wide.disagreement, wide.document["recheck"]) == (90, 4.5, 90)
    assert wide.id != plain.id


def test_a_policy_keeps_the_id_that_it_had_before_copies_and_disagreement(tmp_path: Path) -> None:
    assert load_policy(write(tmp_path), MANIFEST).id == "eu-0b284cd1358d"
