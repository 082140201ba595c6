"""The format of log lines."""

import logging
from collections.abc import Mapping

import orjson

from stream.logs import JsonLines, ids_of
from tests.fakes import BUNDLE, outcome


def line(info: object = None, extra: Mapping[str, object] | None = None) -> str:
    logger = logging.getLogger("pixassay")
    arguments = ("pixassay", logging.WARNING, "file", 1, "part %d\nof it", (3,), info)
    return JsonLines().format(logger.makeRecord(*arguments, extra=extra))  # type: ignore[arg-type]


def test_a_json_log_line_has_the_exception() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        text = line((ValueError, error, error.__traceback__))
    assert "\n" not in text
    fields = orjson.loads(text)
    assert (fields["level"], fields["message"]) == ("warning", "part 3\nof it")
    assert "ValueError: broken" in fields["exception"]


def test_a_json_log_line_about_an_upload_has_the_ids_that_find_it() -> None:
    stored = outcome("one", tenant="shop")
    extra = ids_of(stored.job.origin, stored.job.upload, BUNDLE, verdict="authentic")
    fields = orjson.loads(line(extra=extra))
    assert {name: fields[name] for name in ("topic", "partition", "offset")} == {
        "topic": "uploads",
        "partition": 0,
        "offset": 7,
    }
    assert (fields["tenant"], fields["upload_id"], fields["verdict"]) == ("shop", "one", "authentic")
    assert fields["verdict_id"] == stored.verdict_id


def test_a_record_that_tells_no_upload_is_found_by_its_place() -> None:
    extra = ids_of(outcome("one").job.origin, None, BUNDLE)
    assert set(extra["ids"]) == {"topic", "partition", "offset"}
