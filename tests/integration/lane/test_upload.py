"""`pixassay upload` puts pictures in place and announces them."""

import asyncio
from pathlib import Path

import pytest

from stream.cli import main
from stream.commands.worker import pictures_in
from stream.embedded import SeaweedFS
from stream.events import Upload, parse_record
from stream.fetch import Fetcher
from stream.settings import PREFIX, Settings
from tests.integration.lane.harness import values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one of them deeper and with a blank in its name, and a file that is none."""
    (tmp_path / "in here").mkdir()
    (tmp_path / "one.png").write_bytes(b"one")
    (tmp_path / "in here" / "two.JPG").write_bytes(b"two")
    (tmp_path / "notes.txt").write_bytes(b"no picture")
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, settings: Settings, *arguments: str) -> int:
    for name, value in settings.model_dump(mode="json", exclude_unset=True).items():
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", str(value))
    with pytest.raises(SystemExit) as ended:
        main(["upload", *arguments])
    return int(ended.value.code or 0)


async def announced(settings: Settings) -> list[Upload]:
    parsed = [
        part for value in await values(settings, settings.topic_uploads) for part in parse_record(value)
    ]
    return [part for part in parsed if isinstance(part, Upload)]


def test_files_stay_where_they_are(settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, settings, str(folder), "--tenant", "acme", "--uploader", "ann") == 0
    uploads = asyncio.run(announced(settings))
    fetcher = Fetcher(settings.model_copy(update={"file_roots": (folder,)}))
    assert {fetcher.fetch(item).data for item in uploads} == {b"one", b"two"}
    assert {(item.tenant, item.uploader_id) for item in uploads} == {("acme", "ann")}


def test_files_are_copied_to_s3(
    settings: Settings, seaweedfs: SeaweedFS, unique: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seaweedfs.bucket(unique)
    variables = seaweedfs.variables()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert call(monkeypatch, settings, str(folder), "--to", f"s3://{unique}/inbox") == 0
    fields = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items()}
    fetcher = Fetcher(Settings.model_validate({**settings.model_dump(exclude_unset=True), **fields}))
    uploads = asyncio.run(announced(settings))
    assert {fetcher.fetch(item).data for item in uploads} == {b"one", b"two"}
    assert all(item.uri.startswith(f"s3://{unique}/inbox/") for item in uploads)


def test_a_folder_without_pictures_is_a_wrong_call(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, settings, str(tmp_path)) == 2
    assert "no pictures" in capsys.readouterr().err


def test_a_wrong_place_is_named_and_only_files_are_taken(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "folder.png").mkdir()
    assert call(monkeypatch, settings, str(folder / "one.png"), "--to", "ftp://x") == 2
    assert "ftp://x" in capsys.readouterr().err
    assert [path.name for path in pictures_in([folder])] == ["two.JPG", "one.png"]
