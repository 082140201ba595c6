"""file:// URIs: what may be read, and every way out of the allowed folders that we know of."""

import hashlib
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stream.errors import CannotEvaluate, PixassayError, Undeliverable
from stream.events import Upload
from stream.fetch import Fetcher
from stream.reasons import Reason
from stream.settings import Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An allowed folder with one picture, beside a folder that is not allowed."""
    allowed = tmp_path / "allowed pictures"
    allowed.mkdir()
    (allowed / "a.png").write_bytes(b"picture")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return allowed


def fetch(root: Path, uri: str, sha256: str | None = None, **settings: Any) -> bytes:
    fetcher = Fetcher(Settings(file_roots=(root,), _env_file=None, **settings))  # type: ignore[call-arg]
    return fetcher.fetch(Upload(upload_id="1", uri=uri, uploaded_at=datetime.now(UTC), sha256=sha256)).data


def refusal(root: Path, uri: str, **settings: Any) -> PixassayError:
    with pytest.raises((CannotEvaluate, Undeliverable)) as caught:
        fetch(root, uri, **settings)
    return caught.value


def test_reads_a_file_below_the_root(root: Path) -> None:
    assert fetch(root, (root / "a.png").as_uri()) == b"picture"
    assert fetch(root, "file://localhost" + (root / "a.png").as_uri().removeprefix("file://")) == b"picture"


def test_names_are_percent_decoded_once(root: Path) -> None:
    odd = root / "50% off? #1 äö.png"
    odd.write_bytes(b"odd")
    assert fetch(root, odd.as_uri()) == b"odd"


def test_a_stated_hash_is_checked(root: Path) -> None:
    digest = hashlib.sha256(b"picture").hexdigest()
    uri = (root / "a.png").as_uri()
    assert fetch(root, uri, sha256=digest.upper()) == b"picture"
    with pytest.raises(CannotEvaluate) as caught:
        fetch(root, uri, sha256="0" * 64)
    assert caught.value.reason == Reason.HASH_MISMATCH


@pytest.mark.parametrize(
    "way", ["{root}/../secret.txt", "{root}/%2e%2e/secret.txt", "{root}/link.png", "{root}/away/secret.txt"]
)
def test_no_way_out_of_the_root(root: Path, way: str) -> None:
    (root / "link.png").symlink_to(root.parent / "secret.txt")
    (root / "away").symlink_to(root.parent, target_is_directory=True)
    error = refusal(root, "file://" + way.format(root=root))
    assert isinstance(error, Undeliverable)
    assert error.reason == Reason.URI_NOT_ALLOWED


def test_a_missing_file_outside_is_refused_like_one_that_exists(root: Path) -> None:
    missing, present = (
        refusal(root, (root.parent / name).as_uri()) for name in ("nothing.txt", "secret.txt")
    )
    assert str(missing) == str(present)


def test_a_neighbour_whose_name_starts_alike_is_outside(root: Path) -> None:
    neighbour = root.with_name(root.name + " too")
    neighbour.mkdir()
    (neighbour / "a.png").write_bytes(b"other")
    assert isinstance(refusal(root, (neighbour / "a.png").as_uri()), Undeliverable)


def test_links_within_the_root_and_a_root_that_is_a_link_are_fine(root: Path, tmp_path: Path) -> None:
    (root / "inner.png").symlink_to(root / "a.png")
    assert fetch(root, (root / "inner.png").as_uri()) == b"picture"
    alias = tmp_path / "alias"
    alias.symlink_to(root, target_is_directory=True)
    assert fetch(alias, (alias / "a.png").as_uri()) == b"picture"


@pytest.mark.parametrize(
    "uri", ["file://elsewhere/a.png", "file://", "file:///%00", "http://127.0.0.1/a", "a.png", "://"]
)
def test_other_uris_are_refused(root: Path, uri: str) -> None:
    error = refusal(root, uri)
    assert isinstance(error, Undeliverable)
    assert error.reason == Reason.URI_NOT_ALLOWED


def test_only_regular_files_are_read(root: Path) -> None:
    os.mkfifo(root / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(root / "socket"))
    for name in ("pipe", "socket", "."):
        assert isinstance(refusal(root, f"file://{root}/{name}"), Undeliverable)
    server.close()


def test_nothing_may_be_read_without_roots(root: Path) -> None:
    with pytest.raises(Undeliverable):
        Fetcher(Settings(_env_file=None)).fetch(  # type: ignore[call-arg]
            Upload(upload_id="1", uri=(root / "a.png").as_uri(), uploaded_at=datetime.now(UTC))
        )


def test_gone_empty_and_too_large(root: Path) -> None:
    (root / "empty.png").write_bytes(b"")
    reasons = {
        "gone.png": Reason.NOT_FOUND,
        "a.png/deeper": Reason.NOT_FOUND,
        "x" * 300: Reason.NOT_FOUND,
        "empty.png": Reason.EMPTY_FILE,
        "a.png": Reason.TOO_MANY_BYTES,
    }
    for name, reason in reasons.items():
        error = refusal(root, f"file://{root}/{name}", max_bytes=6)
        assert isinstance(error, CannotEvaluate)
        assert error.reason == reason
    assert fetch(root, (root / "a.png").as_uri(), max_bytes=7) == b"picture"


def test_a_loop_of_links_is_gone(root: Path) -> None:
    (root / "x").symlink_to(root / "y")
    (root / "y").symlink_to(root / "x")
    error = refusal(root, f"file://{root}/x")
    assert isinstance(error, CannotEvaluate)
    assert error.reason == Reason.NOT_FOUND


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_we_may_not_read_is_refused(root: Path) -> None:
    (root / "a.png").chmod(0)
    error = refusal(root, (root / "a.png").as_uri())
    assert isinstance(error, Undeliverable)
    assert error.reason == Reason.ACCESS_DENIED
