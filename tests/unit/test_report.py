"""The report says what was found, in the bundle's own words, and claims no more."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models.bundle import CARD, Bundle
from stream.audit import Gap, Tally
from stream.audit import Report as Audit
from stream.demo_pictures import Picture, packaged_pictures
from stream.demo_results import Item, Results
from stream.demo_upload import Sent
from stream.events import Upload
from stream.policy import Thresholds
from stream.report import bars, caution, dots, share, write_report


def item(picture: Picture, bundle: Bundle, **row: Any) -> Item:
    upload = Upload(upload_id=picture.name, uri="s3://b/k", uploaded_at=datetime.now(UTC))
    stored: dict[str, Any] = {
        **dict.fromkeys(("score", "pin_clip", "dgs_net", "masm", "extra", "format", "width", "height")),
        "verdict": "authentic",
        "reasons": [],
        "frames": 1,
        "bundle": bundle.id,
        "policy": "p",
        **row,
    }
    return Item(Sent(picture, Path(picture.name), upload), stored)


def results(bundle: Bundle, items: list[Item], *gaps: Gap) -> Results:
    tally = Tally(0, 0, len(items), len(items), records=len(items), verdicts=len(items), gaps=list(gaps))
    return Results("run", bundle, items, [], [], Audit("image.uploads", "pixassay", [tally], []), 1.0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "# b\n\nIntro.\n\n## What it is not reliable for\n\n- One\n  thing.\n- `Two`.\n\n## Data\n\nx",
            ["One thing.", "Two."],
        ),
        ("# b\n\n## Limits\n\nFirst **words**.\n\n| a | b |\n\nSecond.", ["First words.", "Second."]),
        ("# b\n\nOnly this.\n", ["Only this."]),
        ("", []),
    ],
)
def test_the_caution_is_the_cards_own(
    tiny_bundle: Bundle, tmp_path: Path, text: str, found: list[str]
) -> None:
    (tmp_path / CARD).write_text(text, encoding="utf-8")
    assert caution(replace(tiny_bundle, path=tmp_path)) == found


def test_a_share_has_its_interval(tiny_bundle: Bundle) -> None:
    pictures = [picture for picture in packaged_pictures() if picture.label == "ai"][:10]
    verdicts = ["synthetic"] * 4 + ["suspicious"] + ["authentic"] * 5
    items = [item(p, tiny_bundle, verdict=v, score=0.5) for p, v in zip(pictures, verdicts, strict=True)]
    found = share(results(tiny_bundle, items), "ai")
    assert (found.flagged, found.count) == (5, 10)
    assert [found.low, found.high] == pytest.approx([0.2366, 0.7634], abs=1e-4)


def test_what_was_not_judged_counts_for_nothing(tiny_bundle: Bundle) -> None:
    [real, ai] = packaged_pictures()[:2]
    items = [
        item(ai, tiny_bundle, verdict="unable_to_evaluate", reasons=["truncated"]),
        item(real, tiny_bundle),
    ]
    found = results(tiny_bundle, items)
    assert found.share_flagged("ai") == (0, 0)
    assert bars(items[0], tiny_bundle) == []
    assert dots(items) == []


def test_a_bar_is_the_calibrated_probability(tiny_bundle: Bundle) -> None:
    detector = tiny_bundle.manifest.detectors[0]
    even = -detector.intercept / detector.slope  # where the log-odds are zero
    [real] = packaged_pictures()[:1]
    [bar] = bars(item(real, tiny_bundle, **{detector.name: even}, score=0.5), tiny_bundle)
    assert (bar.name, bar.logit) == (detector.name, even)
    assert bar.probability == pytest.approx(0.5)


@pytest.mark.parametrize("lost", [False, True])
def test_a_gap_is_not_glossed_over(tiny_bundle: Bundle, tmp_path: Path, lost: bool) -> None:
    gaps = [Gap(0, 7, "demo", "upload")] if lost else []
    limits = Thresholds(suspicious=0.5, synthetic=0.9)
    file = write_report(tmp_path / "r.html", results(tiny_bundle, [], *gaps), {}, limits, [])
    text = file.read_text(encoding="utf-8")
    assert ("Nothing was lost" in text) != lost
    assert f"{len(gaps)} lost" in text


def test_names_are_never_read_as_markup(tiny_bundle: Bundle, tmp_path: Path) -> None:
    nasty = Picture("<script>alert(1)</script>.jpg", b"", None, '"><img src=x onerror=alert(2)>')
    limits = Thresholds(suspicious=0.5, synthetic=0.9)
    found = results(tiny_bundle, [item(nasty, tiny_bundle, verdict="unable_to_evaluate")])
    text = write_report(tmp_path / "r.html", found, {}, limits, []).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<img src=x" not in text
