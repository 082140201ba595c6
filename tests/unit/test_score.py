"""`pixassay score`: one line a file, whatever the file; the same line every time."""

import json
import os
from pathlib import Path

import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from models.bundle import Bundle
from stream.cli import build
from stream.commands.score import files_below
from stream.settings import PREFIX
from tests.unit.picture_files import every_format

FIELDS = [
    "path",
    "verdict",
    "score",
    "logits",
    "reasons",
    "format",
    "width",
    "height",
    "frames",
    "bundle",
    "policy",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of good and broken files, with a blank in its name."""
    root = tmp_path / "my pictures"
    (root / "deeper").mkdir(parents=True)
    for kind, data in every_format().items():
        (root / "deeper" / f"{kind}.jpg").write_bytes(data)
    (root / "cut.png").write_bytes(every_format()["PNG"][:-200])
    (root / "empty.png").write_bytes(b"")
    (root / "page.png").write_bytes(b"<!doctype html>")
    (root / "small.gif").write_bytes(b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;")
    os.mkfifo(root / "pipe")
    return root


def run(monkeypatch: pytest.MonkeyPatch, bundle: Bundle, *arguments: str) -> tuple[int, str]:
    for name, value in {
        "BUNDLE": str(bundle.path),
        "ENGINE": "openvino",
        "THREADS": "1",
        "DECODERS": "2",
    }.items():
        monkeypatch.setenv(PREFIX + name, value)
    result = CliRunner().invoke(build("score"), ["score", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_one_json_line_a_file(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle, folder: Path) -> None:
    code, shown = run(monkeypatch, tiny_bundle, str(folder), "--json")
    rows = [json.loads(line) for line in shown.splitlines()]
    assert code == 0
    assert [row["path"] for row in rows] == [str(path) for path in files_below([folder])]
    assert len(rows) == 5 + len(every_format())
    assert all(list(row) == FIELDS for row in rows)
    assert {row["bundle"] for row in rows} == {tiny_bundle.id}
    for row in rows:
        judged = row["verdict"] in ("authentic", "suspicious", "synthetic")
        assert judged == ("deeper" in row["path"])
        assert (row["score"] is not None) == judged
        assert all((logit is not None) == judged for logit in row["logits"].values())
        assert list(row["logits"]) == [detector.name for detector in tiny_bundle.manifest.detectors]
        assert row["format"] == (Path(row["path"]).name.split(" ")[0].split(".")[0] if judged else None)
    found = {Path(row["path"]).name: (row["verdict"], row["reasons"]) for row in rows}
    assert found["cut.png"] == ("unable_to_evaluate", ["truncated"])
    assert found["empty.png"] == ("unable_to_evaluate", ["empty_file"])
    assert found["page.png"] == ("unable_to_evaluate", ["unsupported_format"])
    assert found["pipe"] == ("unable_to_evaluate", ["uri_not_allowed"])
    assert found["small.gif"] == ("not_applicable", ["too_small"])
    assert "animated" in found["GIF animated.jpg"][1]


def test_scores_repeat(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle, folder: Path) -> None:
    first = run(monkeypatch, tiny_bundle, str(folder), "--json")
    assert run(monkeypatch, tiny_bundle, str(folder), "--json") == first


def test_a_table_for_people(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle, folder: Path) -> None:
    code, shown = run(monkeypatch, tiny_bundle, str(folder / "deeper" / "PNG.jpg"), str(folder / "empty.png"))
    assert code == 0
    assert shown.splitlines()[0].split() == ["verdict", "score", "reasons", "path"]
    assert "unable_to_evaluate" in shown
    assert "empty_file" in shown


def test_a_path_that_does_not_exist_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    assert run(monkeypatch, tiny_bundle, str(tmp_path / "none"))[0] == 2


def test_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle, tmp_path: Path) -> None:
    assert run(monkeypatch, tiny_bundle, str(tmp_path), "--json") == (0, "")


def test_files_below_is_sorted_and_leaves_hidden_files_out(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.png", "a/y.png", ".hidden.png", ".git/x.png", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [str(path.relative_to(tmp_path)) for path in files_below([tmp_path])]
    assert found == ["b.png", "c.png", "a/y.png", "a/z.png"]
    assert list(files_below([tmp_path / ".hidden.png"])) == [tmp_path / ".hidden.png"]


def test_with_a_recheck_the_score_is_the_lower_of_the_pictures_and_its_copys(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """The copy that is made inside scores as the file that a person would have saved."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for name in ("coffee", "chelsea", "astronaut"):
        rgb = Image.fromarray(getattr(skimage.data, name)())
        rgb.save(photographs / f"{name}.png")
        rgb.save(photographs / f"{name}.jpg", quality=90)
    policy = {"name": "all", "suspicious": 0.0, "synthetic": 1.0, "basis": "every picture is flagged"}

    def scores(**more: object) -> dict[str, tuple[float, list[str]]]:
        (tmp_path / "policy.json").write_text(json.dumps({**policy, **more}))
        monkeypatch.setenv(f"{PREFIX}POLICY", str(tmp_path / "policy.json"))
        _, printed = run(monkeypatch, tiny_bundle, "--json", str(photographs))
        lines = map(json.loads, printed.splitlines())
        return {Path(line["path"]).name: (line["score"], line["reasons"]) for line in lines}

    plain, again = scores(), scores(recheck=90)
    for name in ("coffee", "chelsea", "astronaut"):
        lower = min(plain[f"{name}.png"][0], plain[f"{name}.jpg"][0])
        score, reasons = again[f"{name}.png"]
        assert score == pytest.approx(lower, abs=1e-6)
        assert reasons == ["above_suspicious", "rechecked"]
    assert any(
        plain[f"{name}.png"][0] > plain[f"{name}.jpg"][0] + 1e-6
        for name in ("coffee", "chelsea", "astronaut")
    )
