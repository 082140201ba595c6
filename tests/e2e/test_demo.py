"""`pixassay demo` from the command line: the files that it leaves agree with each other."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle
from stream.demo_pictures import packaged_pictures
from tests.conftest import Services

KEYS = ["path", "verdict", "score", "logits", "reasons", "format", "width", "height", "frames", "bundle"]


class Page(HTMLParser):
    """Addresses and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"link", "iframe", "object", "embed"}
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "data"}]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def demo(bundle: Bundle, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PIXASSAY_BUNDLE": str(bundle.path), "COLUMNS": "160", **variables}
    command = [sys.executable, "-m", "stream", "demo", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def output(
    tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory, services: Services
) -> tuple[Path, str]:
    """One run on twelve of the packages' pictures and the hostile files: its folder and what it printed."""
    place = tmp_path_factory.mktemp("demo") / "my output"
    done = demo(tiny_bundle, "--output", str(place), "--limit", "12")
    assert done.returncode == 0, done.stdout + done.stderr
    for version in re.findall(r"^  (?:kafka|database|object store) +(.+)$", done.stdout, re.MULTILINE):
        services.record(version)
    return place, done.stdout


def test_one_line_an_upload_with_what_is_known(output: tuple[Path, str], tiny_bundle: Bundle) -> None:
    found = lines(output[0] / "verdicts.jsonl")
    assert list(found[0]) == [*KEYS, "policy", "upload_id", "label"]
    assert Counter(line["label"] for line in found) == {"real": 6, "ai": 6, None: 7}
    assert {line["bundle"] for line in found} == {tiny_bundle.id}
    for line in found:
        judged = line["label"] is not None
        assert (line["score"] is not None) == judged
        assert all((logit is not None) == judged for logit in line["logits"].values())
        assert list(line["logits"]) == ["pin_clip", "dgs_net", "masm"]
        assert line["reasons"] == ["not_found"] or Path(line["path"]).is_file()


def test_hostile_files_get_a_verdict_that_says_why(output: tuple[Path, str]) -> None:
    reasons = {Path(line["path"]).name: line["reasons"] for line in lines(output[0] / "verdicts.jsonl")}
    assert reasons["truncated.jpg"] == ["truncated"]
    assert reasons["text.jpg"] == ["unsupported_format"]
    assert reasons["empty.png"] == ["empty_file"]
    assert reasons["bomb.png"] == ["too_many_pixels"]
    assert reasons["one-pixel.gif"] == ["too_small"]
    assert reasons["blank.png"] == ["blank"]
    assert reasons["deleted.jpg"] == ["not_found"]


def test_the_review_queue_holds_exactly_the_flagged_uploads(output: tuple[Path, str]) -> None:
    verdicts = {line["upload_id"]: line for line in lines(output[0] / "verdicts.jsonl")}
    reviews = lines(output[0] / "review.jsonl")
    flagged = {key for key, line in verdicts.items() if line["verdict"] in {"suspicious", "synthetic"}}
    assert {message["upload_id"] for message in reviews} == flagged
    for message in reviews:
        assert message["schema"] == "pixassay.review/1"
        assert message["score"] == pytest.approx(verdicts[message["upload_id"]]["score"])


def test_the_report_stands_alone_and_shows_every_upload(output: tuple[Path, str]) -> None:
    text = (output[0] / "report.html").read_text(encoding="utf-8")
    page, words = Page(text), " ".join(Page(text).words)
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert len(page.addresses) == 12  # a thumbnail of every judged picture
    assert "url(" not in text
    assert "@import" not in text
    assert text.count("<article ") == 19
    assert "Random weights, for tests: its scores mean nothing." in words  # from the bundle's card
    assert "uri_not_allowed" in words
    assert "bad_json" in words
    assert "0 lost, 0 stored twice" in re.sub(r"\s+", " ", words)


def test_the_terminal_tells_progress_verdicts_and_the_audit(output: tuple[Path, str]) -> None:
    printed = output[1]
    for words in ("Tansu", "Postgres", "SeaweedFS", "21 of 21", "FROM verdicts", "report.html"):
        assert words in printed
    assert "19 verdicts + 2 dead letters + 0 in flight; 0 lost, 0 stored twice: no gap" in printed


def test_own_pictures_from_a_plain_folder(tiny_bundle: Bundle, tmp_path: Path) -> None:
    real, ai = packaged_pictures()[:2]
    own = tmp_path / "my pictures"
    for folder, name, picture in (("real", "Zoë & co?.png", real), ("ai", "b+c%20.webp", ai)):
        (own / folder).mkdir(parents=True)
        (own / folder / name).write_bytes(picture.data)
    shutil.copy(own / "real" / "Zoë & co?.png", own / "unlabelled.jpg")
    arguments = ("--images", str(own), "--output", str(tmp_path / "out"), "--store", "directory")
    done = demo(tiny_bundle, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {Path(line["path"]): line for line in lines(tmp_path / "out" / "verdicts.jsonl")}
    assert {path.relative_to(own).as_posix(): line["label"] for path, line in found.items()} == {
        "ai/b+c%20.webp": "ai",
        "real/Zoë & co?.png": "real",
        "unlabelled.jpg": None,
    }
    assert all(line["score"] is not None for line in found.values())
    assert not (tmp_path / "out" / "pictures").exists()  # they are where they were


def test_a_broken_part_is_one_sentence(tiny_bundle: Bundle, tmp_path: Path) -> None:
    broken = demo(tiny_bundle, "--output", str(tmp_path), PIXASSAY_BUNDLE=str(tmp_path / "none"))
    assert broken.returncode == 2
    [sentence] = broken.stderr.splitlines()
    assert "none is not a bundle" in sentence
    given = demo(
        tiny_bundle, "--output", str(tmp_path), PIXASSAY_DATABASE_URL="postgresql://127.0.0.1:1/nothing"
    )
    assert given.returncode == 1
    assert given.stderr.startswith("pixassay: database is unavailable")
    assert len(given.stderr.splitlines()) == 1


def test_keep_holds_the_servers_until_ctrl_c(tiny_bundle: Bundle, tmp_path: Path) -> None:
    environment = {**os.environ, "PIXASSAY_BUNDLE": str(tiny_bundle.path), "PYTHONUNBUFFERED": "1"}
    # A run in the background of a script ignores SIGINT, and its children inherit that.
    heeding = ["env", "--default-signal=INT", sys.executable]
    command = [*heeding, "-m", "stream", "demo", "--limit", "2", "--keep", "--output", str(tmp_path)]
    log = tmp_path / "log"
    with log.open("w") as stream, subprocess.Popen(command, env=environment, stdout=stream) as process:
        deadline = time.monotonic() + 120
        while "pixassay review next" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        printed = log.read_text()
        psql, url = re.search(r"^  (\S+psql) ", printed, re.M), re.search(r"DATABASE_URL=(\S+)", printed)
        assert psql
        assert url
        answer = subprocess.run(
            [psql[1], url[1], "-XAtc", "select count(*) from verdicts"],
            check=True,
            capture_output=True,
            text=True,
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 0
    assert answer.stdout == "9\n"  # two pictures and seven hostile files
