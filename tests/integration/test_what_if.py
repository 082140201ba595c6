"""Judging again in SQL: the database must decide what stream.decide would, to the last bit."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import numpy as np
import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.database import maintenance
from stream.decide import Judge
from stream.errors import PixassayError
from stream.events import Label
from stream.policy import Policy, Thresholds, policy_of_bundle
from stream.reasons import Reason
from stream.store import Store
from stream.types import Judgement, Outcome
from stream.what_if import Change, Period, judge_again
from tests.integration.test_history_commands import run
from tests.outcomes import BUNDLE, MANIFEST, NOW, POLICY, outcome

ALWAYS = Period(BUNDLE.id, NOW - timedelta(days=3650), NOW + timedelta(days=1))
LOGIT = st.floats(-8, 8, width=32)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with closing(Store(database_url)) as opened:
        opened.open(BUNDLE, POLICY)
        yield opened


def policy(thresholds: Thresholds, disagreement: float | None) -> Policy:
    spec = MANIFEST.policy.model_copy(update={**thresholds.model_dump(), "disagreement": disagreement})
    return policy_of_bundle(MANIFEST.model_copy(update={"policy": spec}))


def judged(name: str, tenant: str, said: Judgement) -> Outcome:
    return replace(outcome(name, tenant=tenant), judgement=said)


def asked(url: str, thresholds: Thresholds, tenant: str | None = None) -> list[Change]:
    with maintenance(url) as connection:
        return judge_again(connection, replace(ALWAYS, tenant=tenant), thresholds)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, Thresholds, Thresholds, float | None]:
    """Logits [N, 3] of N pictures, thresholds before and after that lie on or next to their scores, and a
    bound of disagreement that is one of their distances."""
    logits = np.array(draw(st.lists(st.tuples(LOGIT, LOGIT, LOGIT), min_size=1, max_size=12)), np.float32)
    judge = Judge(MANIFEST, POLICY)
    scores = [float(judge.judge(row[None], "t").score or 0.0) for row in logits]
    edge = st.sampled_from(scores).flatmap(
        lambda score: st.sampled_from(
            [score, float(np.nextafter(score, 0)), float(np.nextafter(score, 1)), 1.0]
        )
    )
    pairs = [sorted((draw(edge), draw(edge))) for _ in range(2)]
    before, after = (Thresholds(suspicious=low, synthetic=high) for low, high in pairs)
    apart = np.abs((2 * logits[:, 0].astype(float) - 1) - logits[:, 1].astype(float))
    bound = draw(st.none() | st.sampled_from([float(one) for one in apart if one > 0] or [1.0]))
    return logits, before, after, bound


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=pictures())
def test_sql_decides_as_the_policy_does(
    store: Store, database_url: str, made: tuple[np.ndarray, Thresholds, Thresholds, float | None]
) -> None:
    logits, before, after, bound = made
    tenant, old = uuid4().hex, policy(before, bound)
    store.open(BUNDLE, old)
    said = [Judge(MANIFEST, old).judge(row[None], tenant) for row in logits]
    store.write([judged(f"p-{number}", tenant, one) for number, one in enumerate(said)])
    then = [Judge(MANIFEST, policy(after, bound)).judge(row[None], tenant) for row in logits]
    moves = Counter(
        f"{one.verdict} -> {two.verdict}"
        for one, two in zip(said, then, strict=True)
        if one.verdict != two.verdict
    )
    (change,) = asked(database_url, after, tenant)
    assert change.moves == dict(moves)
    flagged = {"suspicious", "synthetic"}
    assert change.flagged_before == sum(one.verdict in flagged for one in said)
    assert change.flagged_after == sum(one.verdict in flagged for one in then)
    assert (change.judged, change.uncertain) == (len(logits), 0)


@pytest.fixture
def history(store: Store) -> Store:
    """Two tenants, old policy .5 and .75; ada found one flagged picture authentic, then thought again."""
    rows = [outcome("high"), outcome("mid", verdict="suspicious", score=0.6), outcome("far", tenant="art")]
    low = outcome("low", verdict="authentic", score=0.3, uploaded_at=NOW - timedelta(days=40))
    gone = outcome("gone", verdict="unable_to_evaluate", score=None, logits={}, facts=None)
    store.write([*rows, low, gone])
    first = label(rows[1], decided_at=NOW - timedelta(hours=1))
    store.label([label(rows[0]), first, label(rows[1], decision="authentic")])
    store.label([label(low), label(rows[2], decision="unsure")])
    return store


def label(told: Outcome, decision: str = "synthetic", decided_at: datetime = NOW) -> Label:
    return Label.model_validate(
        {
            "verdict_id": UUID(told.verdict_id),
            "tenant": told.job.upload.tenant,
            "upload_id": told.job.upload.upload_id,
            "decision": decision,
            "reviewer": "ada",
            "decided_at": decided_at,
        }
    )


def test_changes_by_tenant_with_what_reviewers_said(history: Store, database_url: str) -> None:
    home, art = asked(database_url, Thresholds(suspicious=0.2, synthetic=0.95))
    assert home == Change(
        "default",
        judged=3,
        flagged_before=2,
        flagged_after=3,
        moves={"synthetic -> suspicious": 1, "authentic -> suspicious": 1},
        reviewed={"synthetic": [2, 1, 2], "authentic": [1, 1, 1]},
    )
    assert art == Change("art", 1, 1, 1, moves={"synthetic -> suspicious": 1})


def test_only_the_bundle_and_the_time_that_were_asked_for(history: Store, database_url: str) -> None:
    thresholds = Thresholds(suspicious=0.2, synthetic=0.95)
    with maintenance(database_url) as connection:
        recent = replace(ALWAYS, start=NOW - timedelta(days=39), tenant="default")
        assert judge_again(connection, recent, thresholds)[0].judged == 2
        with pytest.raises(PixassayError, match="no bundle nothing ever judged here"):
            judge_again(connection, replace(ALWAYS, bundle="nothing"), thresholds)


def test_what_hangs_on_frames_that_are_not_stored_is_uncertain(store: Store, database_url: str) -> None:
    """Raising the thresholds leaves an animation to the distance of its detectors, in any of its frames."""
    old = policy(Thresholds(suspicious=0.5, synthetic=0.75), 50.0)
    store.open(BUNDLE, old)
    still = Judgement("synthetic", 0.9, {"pin_clip": 1.0, "dgs_net": 0.0}, (Reason.ABOVE_SYNTHETIC,), old.id)
    moving = replace(still, reasons=(*still.reasons, Reason.ANIMATED))
    store.write([judged("still", "t", still), judged("moving", "t", moving)])
    (change,) = asked(database_url, Thresholds(suspicious=0.95, synthetic=0.95))
    assert (change.moves, change.uncertain) == ({"synthetic -> authentic": 2}, 1)


def test_the_command(
    history: Store, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIXASSAY_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")
    wanted = ("what-if", "--suspicious", "0.7", "--synthetic", "0.95")
    assert run(*wanted) == 0
    told = capsys.readouterr().out
    assert "1 suspicious -> authentic, 1 synthetic -> suspicious" in told
    assert "of 1 that reviewers found authentic: 1 flagged before, 0 after" in told
    assert run(*wanted, "--from", "2001-01-01", "--tenant", "default", "--json") == 0
    document = orjson.loads(capsys.readouterr().out)
    assert (document["bundle"], document["tenants"][0]["judged"]) == (BUNDLE.id, 3)
    assert run("what-if", "--suspicious", "0.9", "--synthetic", "0.8") == 2
    assert "the suspicious threshold is above the synthetic one" in capsys.readouterr().err
    assert run(*wanted, "--from", "2030-01-01", "--to", "2029-01-01") == 2
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM verdicts")
    assert run(*wanted) == 1
    assert "there are no verdicts yet" in capsys.readouterr().err
