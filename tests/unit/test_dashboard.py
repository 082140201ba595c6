"""Dashboard, alert rules and page speak of the metrics that a worker really shows."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.monitoring.dashboard import FILE, text
from stream.drift import FEWEST, Drift
from stream.errors import Outage
from stream.metrics import exposition, registry_of
from stream.telemetry import Telemetry
from tests.fakes import outcome

ROOT = Path(__file__).resolve().parents[2]
OURS = re.compile(r"\b(?:pixassay|process)_[a-z_]+\b")


@pytest.fixture(scope="module")
def shown() -> dict[str, set[str]]:
    """Name of a series -> its labels, with one of everything in it."""
    telemetry = Telemetry(tenants=1)
    telemetry.judged(outcome("one"))
    telemetry.lags = {("uploads", 0): 1}
    telemetry.depths = lambda: {"fetch": (1, 2)}
    telemetry.about = dict.fromkeys(("bundle", "bundle_id", "policy", "engine", "precision"), "x")
    telemetry.lost(Outage("kafka", "refused"), "me")
    telemetry.drift = Drift([step / 10 for step in range(1, 11)])
    for _ in range(FEWEST):
        telemetry.drift.add(0.5)
    families = text_string_to_metric_families(exposition(registry_of(telemetry)).decode())
    found: dict[str, set[str]] = {}
    for sample in (sample for family in families for sample in family.samples):
        found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_the_dashboard_is_what_its_list_says() -> None:
    assert FILE.read_text("utf-8") == text()


@pytest.mark.parametrize(
    "path", ["monitoring/grafana.json", "monitoring/alerts.yaml", "monitoring/alerts_test.yaml"]
)
def test_queries_name_metrics_that_exist(shown: dict[str, set[str]], path: str) -> None:
    asked = set(OURS.findall((ROOT / "deploy" / path).read_text("utf-8")))
    assert len(asked) > 8
    assert asked <= shown.keys()


def test_queries_name_labels_that_exist(shown: dict[str, set[str]]) -> None:
    known = {"job", "instance", "alertname"}.union(*shown.values())
    for path in ("monitoring/grafana.json", "monitoring/alerts.yaml"):
        written = (ROOT / "deploy" / path).read_text("utf-8").replace('\\"', '"')
        matched = re.findall(r'[{,]\s*(\w+)=~?"', written)
        grouped = [
            name.strip() for names in re.findall(r"by \(([^)]+)\)", written) for name in names.split(",")
        ]
        assert grouped
        assert {*matched, *grouped} <= known, path


def test_the_page_lists_every_metric_of_ours_and_no_other(shown: dict[str, set[str]]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    table = page[page.index("| metric |") : page.index("Logs:")]
    listed = set(OURS.findall(table))
    exported = {
        re.sub(r"_(bucket|sum|count|created)$", "", name) for name in shown if name.startswith("pixassay")
    }
    assert listed == exported
    for name, labels in re.findall(r"`(pixassay_\w+)\{([\w,]+)\}`", table):
        series = name if name in shown else f"{name}_count"
        assert set(labels.split(",")) == shown[series], name
