"""What a worker tells about itself."""

import logging

import orjson

from stream.errors import Outage
from stream.telemetry import JsonLines, Telemetry


def test_a_part_is_away_until_the_last_one_that_waits_is_through() -> None:
    telemetry = Telemetry()
    outage = Outage("database", "refused")
    telemetry.lost(outage, "first")
    telemetry.lost(outage, "second")
    telemetry.back("database", "first")
    telemetry.back("database", "never waited")
    assert telemetry.away == {"database"}
    telemetry.back("database", "second")
    assert telemetry.away == frozenset()


def test_the_progress_line_counts_verdicts_dead_letters_and_what_is_waited_for() -> None:
    telemetry = Telemetry()
    telemetry.verdicts.update(["synthetic", "authentic", "authentic"])
    telemetry.dead["bad_json"] += 1
    telemetry.in_flight, telemetry.lag = 5, 7
    telemetry.lost(Outage("object store", "away"), "me")
    line = telemetry.progress()
    assert line.startswith("4 outcomes (0.0/s), 2 authentic, 1 synthetic, 1 dead letters, 5 in flight, lag 7")
    assert line.endswith("waiting for object store")


def test_a_json_log_line_has_the_exception() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("pixassay", logging.WARNING, "file", 1, "part %d\nof it", (3,), info)
    text = JsonLines().format(record)
    assert "\n" not in text
    fields = orjson.loads(text)
    assert (fields["level"], fields["message"]) == ("warning", "part 3\nof it")
    assert "ValueError: broken" in fields["exception"]
