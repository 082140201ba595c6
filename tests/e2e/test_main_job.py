"""The main job on real parts: uploads in, rows and review messages out, with a kill -9 in the middle."""

import csv
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from models.bundle import Bundle
from stream.embedded import DirectoryStore, Postgres, SeaweedFS
from stream.queries import named_queries
from tests.conftest import TEMPLATE
from tests.harness.pictures import pictures
from tests.harness.scene import set_scene, worker_settings
from tests.harness.seen import Database, read_topic
from tests.harness.story import CRASH_AT, UPLOADS, Story, play
from tests.harness.traffic import LENIENT, STRICT

OWN = 5  # pictures that `pixassay upload` announces


@pytest.fixture(scope="module", params=["tansu", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
def story(
    request: pytest.FixtureRequest,
    postgres: Postgres,
    seaweedfs: SeaweedFS,
    tiny_bundle: Bundle,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    """The run, once on each broker."""
    broker, folder = request.getfixturevalue(request.param), tmp_path_factory.mktemp("story")
    database = Database(postgres, f"e2e_{request.param}")
    url = postgres.create_database(database.name, template=TEMPLATE)
    directory = DirectoryStore(folder / "pictures")
    scene = set_scene(directory, seaweedfs.bucket(f"e2e-{request.param.replace('_', '-')}"))
    own = folder / "own"
    own.mkdir()
    for picture in pictures()[:OWN]:
        (own / f"{picture.name}.png").write_bytes(picture.data)
    variables = {**broker.variables(), **seaweedfs.variables(), "PIXASSAY_DATABASE_URL": url}
    settings = worker_settings(
        folder,
        variables,
        group=database.name,
        bundle=tiny_bundle.path,
        file_roots=(directory.folder, own),
        **{f"topic_{kind}": f"{database.name}.{kind}" for kind in ("uploads", "review", "labels", "dead")},
    )
    yield play(settings, scene, database, folder)
    postgres.drop_database(database.name)
    shutil.rmtree(folder)


def total(audit: Mapping[str, Any], field: str) -> int:
    return sum(tally[field] for tally in audit["partitions"])


def test_after_a_kill_what_is_not_done_is_in_flight_and_nothing_is_lost(story: Story) -> None:
    assert CRASH_AT * UPLOADS <= story.crash.rows < UPLOADS
    assert story.crash.audit["ok"]
    assert story.crash.audit["doubled"] == []
    assert total(story.crash.audit, "in_flight") > 0


def test_in_the_end_every_upload_has_its_outcome(story: Story) -> None:
    assert story.audit["ok"]
    assert total(story.audit, "records") == len(story.traffic.records) + OWN
    assert total(story.audit, "dead_letters") == story.traffic.bad
    assert total(story.audit, "verdicts") == total(story.audit, "uploads") - story.traffic.bad


def test_every_upload_has_one_row_and_there_are_no_others(story: Story) -> None:
    found = story.database.uploads()
    assert story.announced == OWN
    assert sum(number for (tenant, _), number in found.items() if tenant == "cli") == OWN
    assert {key: number for key, number in found.items() if key[0] != "cli"} == dict.fromkeys(
        story.traffic.uploads, 1
    )
    assert len(story.traffic.uploads) == UPLOADS


def test_sigterm_ends_it_with_everything_committed(story: Story) -> None:
    assert story.exit_code == 0
    assert total(story.audit, "in_flight") == 0
    for tally in story.audit["partitions"]:
        assert tally["committed"] == tally["stop"]


def test_the_review_topic_has_exactly_the_flagged_rows(story: Story) -> None:
    reviews = read_topic(story.settings.kafka_bootstrap, story.settings.topic_review)
    flagged = story.database.flagged()
    assert {review["verdict_id"] for review in reviews} == flagged
    assert UPLOADS / 10 < len(flagged) < UPLOADS / 2
    assert {review["tenant"] for review in reviews} == {STRICT}


def test_dead_letters_are_on_their_topic_and_in_their_table(story: Story) -> None:
    dead = read_topic(story.settings.kafka_bootstrap, story.settings.topic_dead)
    announced = {
        (letter["topic"], letter["partition"], letter["offset"], letter["reason"]) for letter in dead
    }
    rows = story.database.ask('select topic, "partition", "offset", reason from dead_letters').splitlines()
    assert {"|".join(map(str, letter)) for letter in announced} == set(rows)
    assert {reason for *_, reason in announced} == {
        *("bad_json", "unknown_schema", "invalid_field", "uri_not_allowed")
    }


def test_what_can_be_judged_has_a_score_and_what_cannot_says_why(story: Story) -> None:
    seen = story.database.ask(
        "select uri, score is not null, verdict, cardinality(reasons) > 0 from verdicts where tenant <> 'cli'"
    )
    for line in seen.splitlines():
        uri, scored, verdict, reasoned = line.split("|")
        assert (scored == "t") == story.scene.judged[uri]
        assert (verdict == "unable_to_evaluate") == (not story.scene.judged[uri])
        assert scored == "t" or reasoned == "t"


def test_a_picture_has_one_score_in_whichever_batch_it_was(story: Story) -> None:
    pictures_and_spreads = story.database.ask(
        "select sha256, max(score) - min(score), count(*) from verdicts where score is not null group by 1"
    )
    lines = [line.split("|") for line in pictures_and_spreads.splitlines()]
    assert max(int(uploads) for _, _, uploads in lines) > 20
    for _, spread, _ in lines:
        assert float(spread) < 1e-4


def test_the_doctor_finds_every_part_well(story: Story) -> None:
    names = ["python", "bundle and engine", "database", "kafka", "object store"]
    assert [finding["name"] for finding in story.doctor] == names
    assert all(finding["ok"] for finding in story.doctor)


def test_a_label_takes_its_upload_out_of_the_queue(story: Story) -> None:
    assert not story.label.still_queued
    assert story.label.stored == f"{story.label.upload['verdict_id']}|authentic|ana"


def test_psql_answers_the_written_questions(story: Story) -> None:
    flagged = len(story.database.flagged())
    counts = {line[0]: int(line[1]) for line in ask(story, "verdicts_of_the_last_day")}
    assert sum(counts.values()) == UPLOADS + OWN
    assert counts["suspicious"] + counts.get("synthetic", 0) == flagged
    queue = ask(story, "review_queue")
    assert len(queue) == 20
    assert story.label.upload["verdict_id"] not in {line[0] for line in queue}
    suspected = Counter({(line[0], line[1]): int(line[2]) for line in ask(story, "most_suspected_uploaders")})
    assert suspected.total() == flagged
    upload = story.label.upload["upload_id"]
    [line] = ask(story, "scores_of_one_upload", tenant=STRICT, upload_id=upload)
    assert float(line[3]) == pytest.approx(story.label.upload["score"], abs=1e-6)
    assert ask(story, "scores_of_one_upload", tenant=LENIENT, upload_id=upload) == []


def ask(story: Story, question: str, **values: str) -> list[list[str]]:
    """The lines that psql prints for one question of docs/queries.sql."""
    options = ["--no-psqlrc", "--csv", "--tuples-only", "--set=ON_ERROR_STOP=1", "--file=-"]
    options += [f"--set={name}={value}" for name, value in values.items()]
    server = story.database.server
    done = subprocess.run(
        [str(server.psql), *options, server.url(story.database.name)],
        input=named_queries()[question].sql,
        capture_output=True,
        text=True,
        check=True,
    )
    return list(csv.reader(done.stdout.splitlines()))
