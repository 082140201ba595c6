"""What other thresholds would have decided: a period judged again in the database, from what is stored.

The stored score is the very number that the thresholds were held against, and the distance between the
detectors comes from the stored logits and the calibration in the bundle's manifest. Whatever else the
policy of a row says stays as it was: only the two thresholds change. One bundle at a time, because a
threshold means something else under another one.

Two things are not in the table, and rows that hang on them are counted as uncertain: logits of the frames
and copies that did not decide, and scores of copies that were never made.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on

from stream.errors import PixassayError
from stream.policy import Thresholds
from stream.tables import LOGIT_COLUMNS, bundles, policies, reviews, verdicts
from stream.types import FLAGGED

_FRAMES, _COPY = "animated", "rechecked"  # reasons of rows of which more was scored than is stored


@dataclass(frozen=True, slots=True)
class Period:
    """Which verdicts: of one bundle, on what was uploaded from `start` to before `end`."""

    bundle: str
    start: datetime
    end: datetime
    tenant: str | None = None  # None: all


@dataclass(slots=True)
class Change:
    """What would change for one tenant: numbers of verdicts."""

    tenant: str
    judged: int = 0  # with a score; the others stay what they are
    flagged_before: int = 0
    flagged_after: int = 0
    uncertain: int = 0
    moves: dict[str, int] = field(default_factory=dict)  # "suspicious -> authentic": how many
    # What reviewers decided on ("synthetic", "authentic"): how many, flagged before, flagged after.
    reviewed: dict[str, list[int]] = field(default_factory=dict)


# The planner takes nearly every row for a group of its own, and would sort them all to count a handful.
_SETTINGS = ("statement_timeout = '10min'", "enable_sort = off", "work_mem = '64MB'")


def newest_bundle(connection: sa.Connection) -> str:
    """The bundle of the newest verdict. Raises PixassayError where there is none."""
    query = sa.select(verdicts.c.bundle).order_by(verdicts.c.decided_at.desc()).limit(1)
    found = connection.scalar(query)
    if found is None:
        raise PixassayError("there are no verdicts yet that could be judged again")
    return str(found)


def judge_again(connection: sa.Connection, period: Period, thresholds: Thresholds) -> list[Change]:
    """What `thresholds` would have changed, by tenant. Raises PixassayError for a bundle not known here."""
    with connection.begin():
        for setting in _SETTINGS:
            connection.execute(sa.text(f"SET LOCAL {setting}"))
        manifest = connection.scalar(sa.select(bundles.c.manifest).where(bundles.c.id == period.bundle))
        if manifest is None:
            raise PixassayError(f"no bundle {period.bundle} ever judged here; see the table bundles")
        rows = connection.execute(_query(period, thresholds, manifest)).mappings().all()
    return _by_tenant(dict(row) for row in rows)


def verdict_again(thresholds: Thresholds, manifest: Mapping[str, Any]) -> sa.ColumnElement[str]:
    """The verdict as SQL, over `verdicts` joined with `policies`: what stream.decide.Judge decides."""
    score = verdicts.c.score
    bound = policies.c.document["disagreement"].astext.cast(sa.Double)
    return sa.case(
        (score.is_(None), verdicts.c.verdict),
        (score >= _number(thresholds.synthetic), sa.literal_column("'synthetic'")),
        (score >= _number(thresholds.suspicious), sa.literal_column("'suspicious'")),
        (_spread(manifest) >= bound, sa.literal_column("'suspicious'")),
        else_=sa.literal_column("'authentic'"),
    )


def _spread(manifest: Mapping[str, Any]) -> sa.ColumnElement[float]:
    """Distance between the log-odds of the detectors with a say, as stream.decide.Fusion.spread has it."""
    odds = [
        _number(one["slope"]) * _logit(one["name"]) + _number(one["intercept"])
        for one in manifest["detectors"]
        if one["weight"] > 0
    ]
    if not odds:
        return _number(0.0)
    apart: sa.ColumnElement[float] = sa.func.greatest(*odds) - sa.func.least(*odds)
    return apart


def _logit(name: str) -> sa.ColumnElement[float]:
    if name in LOGIT_COLUMNS:
        return sa.cast(verdicts.c[name], sa.Double)
    return sa.cast(verdicts.c.extra[name].astext, sa.Double)


def _number(value: float) -> sa.ColumnElement[float]:
    return sa.cast(value, sa.Double)


def _query(period: Period, thresholds: Thresholds, manifest: Mapping[str, Any]) -> sa.Select[Any]:
    after = verdict_again(thresholds, manifest).label("after")
    rows = (
        sa.select(
            verdicts.c.tenant,
            verdicts.c.upload_id,
            verdicts.c.verdict.label("before"),
            after,
            verdicts.c.score.is_not(None).label("judged"),
            _uncertain(thresholds, after.element).label("uncertain"),
        )
        .outerjoin(policies, policies.c.id == verdicts.c.policy)
        .where(verdicts.c.bundle == period.bundle)
        .where(verdicts.c.uploaded_at >= period.start, verdicts.c.uploaded_at < period.end)
    )
    if period.tenant is not None:
        rows = rows.where(verdicts.c.tenant == period.tenant)
    again, told = rows.subquery("again"), _decisions()
    keys = (again.c.tenant, again.c.before, again.c.after, again.c.judged, again.c.uncertain, told.c.decision)
    joined = again.outerjoin(
        told, sa.and_(*(told.c[name] == again.c[name] for name in ("tenant", "upload_id")))
    )
    return sa.select(*keys, sa.func.count().label("rows")).select_from(joined).group_by(*keys)


def _uncertain(thresholds: Thresholds, after: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether the verdict hangs on what is not stored."""

    def has(reason: str) -> sa.ColumnElement[bool]:
        return verdicts.c.reasons.contains(sa.cast([reason], ARRAY(sa.Text)))

    flagged = sorted(FLAGGED)
    spread_unknown = sa.and_(
        policies.c.document.has_key("disagreement"),
        verdicts.c.score < _number(thresholds.suspicious),
        sa.or_(has(_FRAMES), has(_COPY)),
    )
    never_copied = sa.and_(
        policies.c.document.has_key("recheck"),
        verdicts.c.verdict.not_in(flagged),
        after.in_(flagged),
        sa.not_(has(_COPY)),
    )
    return sa.func.coalesce(sa.or_(spread_unknown, never_copied), sa.false())


def _decisions() -> sa.Subquery:
    """The newest decision on each upload."""
    columns = (reviews.c.tenant, reviews.c.upload_id)
    newest = sa.select(*columns, reviews.c.decision).ext(distinct_on(*columns))
    return newest.order_by(*columns, reviews.c.decided_at.desc()).subquery("told")


def _by_tenant(rows: Iterable[Mapping[str, Any]]) -> list[Change]:
    changes: dict[str, Change] = {}
    for row in rows:
        _add(changes.setdefault(row["tenant"], Change(row["tenant"])), row)
    return sorted(changes.values(), key=lambda change: (-change.judged, change.tenant))


def _add(change: Change, row: Mapping[str, Any]) -> None:
    count, before, after = row["rows"], row["before"] in FLAGGED, row["after"] in FLAGGED
    change.judged += count * row["judged"]
    change.flagged_before += count * before
    change.flagged_after += count * after
    change.uncertain += count * row["uncertain"]
    if row["before"] != row["after"]:
        move = f"{row['before']} -> {row['after']}"
        change.moves[move] = change.moves.get(move, 0) + count
    if row["decision"] in ("synthetic", "authentic"):
        seen = change.reviewed.setdefault(row["decision"], [0, 0, 0])
        for place, number in enumerate((count, count * before, count * after)):
            seen[place] += number
