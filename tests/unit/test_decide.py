"""Calibration, fusion and thresholds, checked against arithmetic done by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decide import Fusion, Judge
from stream.errors import CannotEvaluate, NotApplicable, Undeliverable
from stream.policy import Policy, Thresholds
from stream.reasons import Reason
from tests.outcomes import MANIFEST, POLICY

JUDGE = Judge(MANIFEST, POLICY)


def row(*logits: float) -> np.ndarray:
    return np.array([logits], dtype=np.float32)


def fused(logits: np.ndarray) -> np.ndarray:
    return Fusion(MANIFEST).fuse(Fusion(MANIFEST).calibrate(logits))


def test_calibration_is_one_line_a_detector() -> None:
    # 2*3-1 = 5, 1*4+0 = 4, 0.5*-1+0.5 = 0
    assert Fusion(MANIFEST).calibrate(row(3, 4, -1)).tolist() == [[5.0, 4.0, 0.0]]


def test_fusion_weighs_the_log_odds() -> None:
    # -0.5 + 0.5*5 + 0.25*4 + 0*0 = 3;  sigmoid(3) = 0.95257...
    assert fused(row(3, 4, -1)).tolist() == [pytest.approx(0.9525741268224334)]
    # -0.5 + 0.5*1 + 0.25*0 = 0;  sigmoid(0) = 1/2
    assert fused(row(1, 0, 9)).tolist() == [0.5]


def test_far_logits_saturate_without_overflow() -> None:
    assert fused(row(-1e6, -1e6, 0)).tolist() == [0.0]
    assert fused(row(1e6, 1e6, 0)).tolist() == [1.0]


@pytest.mark.parametrize(
    ("first", "verdict", "reasons"),
    [
        (0.99, "authentic", ()),  # -0.5 + 0.5*0.98 = -0.01 < log-odds 0 of 0.5
        (1.0, "suspicious", (Reason.ABOVE_SUSPICIOUS,)),  # exactly 0.5: at the threshold is above it
        (2.09, "suspicious", (Reason.ABOVE_SUSPICIOUS,)),  # 1.09 < log 3 = 1.0986, log-odds of 0.75
        (2.10, "synthetic", (Reason.ABOVE_SYNTHETIC,)),  # 1.10 > 1.0986
    ],
)
def test_thresholds(first: float, verdict: str, reasons: tuple[Reason, ...]) -> None:
    judgement = JUDGE.judge(row(first, 0, 0), "default")
    assert (judgement.verdict, judgement.reasons) == (verdict, reasons)
    assert judgement.policy == POLICY.id


def test_the_highest_scoring_frame_decides() -> None:
    frames = np.array([[0, 0, 0], [3, 0, 7], [1, 0, 0]], dtype=np.float32)
    judgement = JUDGE.judge(frames, "default")
    assert judgement.logits == {"pin_clip": 3.0, "dgs_net": 0.0, "masm": 7.0}
    assert judgement.score == pytest.approx(1 / (1 + math.exp(-2)))  # -0.5 + 0.5*5 = 2
    assert judgement.reasons == (Reason.ABOVE_SYNTHETIC, Reason.ANIMATED)


def test_a_tenant_may_have_its_own_thresholds() -> None:
    lenient = replace(POLICY, tenants={"art": Thresholds(suspicious=0.9, synthetic=0.99)})
    judge = Judge(MANIFEST, lenient)
    assert judge.judge(row(2.1, 0, 0), "art").verdict == "authentic"
    assert judge.judge(row(2.1, 0, 0), "news").verdict == "synthetic"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_no_number_is_a_defect_not_a_clean_picture(bad: float) -> None:
    with pytest.raises(Undeliverable, match="no number") as caught:
        JUDGE.judge(row(0, bad, 0), "default")
    assert caught.value.reason is Reason.INTERNAL_ERROR


@pytest.mark.parametrize("shape", [(0, 3), (1, 2), (3,)])
def test_logits_of_another_ensemble_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        JUDGE.judge(np.zeros(shape, np.float32), "default")


def test_a_failed_picture_never_looks_clean() -> None:
    nothing = JUDGE.unable(NotApplicable(Reason.BLANK))
    broken = JUDGE.unable(CannotEvaluate(Reason.TRUNCATED, "ends at byte 12"))
    assert (nothing.verdict, nothing.score, nothing.reasons) == ("not_applicable", None, (Reason.BLANK,))
    assert (broken.verdict, broken.score) == ("unable_to_evaluate", None)
    assert broken.logits == {"pin_clip": None, "dgs_net": None, "masm": None}


logit = st.floats(-50, 50, width=32)


@given(st.tuples(logit, logit, logit), st.integers(0, 2), st.floats(0, 50), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_logit_never_gives_a_milder_verdict(
    logits: tuple[float, float, float], which: int, more: float, low: float, high: float
) -> None:
    low, high = min(low, high), max(low, high)
    judge = Judge(MANIFEST, Policy("any", low, high, {}, {}))
    raised = list(logits)
    raised[which] += more
    mildest_first = ["authentic", "suspicious", "synthetic"]
    before, after = judge.judge(row(*logits), "t"), judge.judge(row(*raised), "t")
    assert before.score is not None
    assert after.score is not None
    assert after.score >= before.score - 1e-12  # the same up to the rounding of the logit to float32
    if after.score >= before.score:
        assert mildest_first.index(after.verdict) >= mildest_first.index(before.verdict)


@given(st.lists(st.tuples(logit, logit, logit), min_size=1, max_size=6))
def test_frames_are_judged_as_their_worst_one_alone(frames: list[tuple[float, float, float]]) -> None:
    together = JUDGE.judge(np.array(frames, np.float32), "t")
    alone = [JUDGE.judge(row(*frame), "t") for frame in frames]
    assert together.score == pytest.approx(max(one.score or 0.0 for one in alone))


def test_only_what_would_be_flagged_is_worth_a_copy() -> None:
    judge = Judge(MANIFEST, replace(POLICY, recheck=90, disagreement=3.0))
    assert judge.recheck == 90
    assert not judge.doubtful(row(0.99, 0, 0), "t")
    assert judge.doubtful(row(1.0, 0, 0), "t")
    assert judge.doubtful(row(-3, -4, 0), "t")  # log-odds -7 and -4: three apart
    with pytest.raises(Undeliverable, match="no number"):
        judge.doubtful(row(0, math.nan, 0), "t")


def test_the_lower_score_counts_with_the_logits_that_gave_it() -> None:
    first, copy = row(2.1, 0, 5), row(1.5, 0, 7)
    for one, other in ((first, copy), (copy, first)):
        judgement = JUDGE.judge(one, "default", other)
        assert judgement.logits == {"pin_clip": 1.5, "dgs_net": 0.0, "masm": 7.0}
        assert judgement.score == pytest.approx(1 / (1 + math.exp(-0.5)))
        assert (judgement.verdict, judgement.reasons) == (
            "suspicious",
            (Reason.ABOVE_SUSPICIOUS, Reason.RECHECKED),
        )


def test_a_harmless_copy_takes_the_verdict_and_leaves_the_score_beneath_the_threshold() -> None:
    flagged, harmless, never = row(2.1, 0, 5), row(-4, 0, 7), row(0.5, 0, 0)
    judgement = JUDGE.judge(flagged, "default", harmless)
    assert (judgement.verdict, judgement.reasons) == ("authentic", (Reason.RECHECKED,))
    assert judgement.logits["pin_clip"] == -4
    suspicious = POLICY.thresholds("default").suspicious
    assert judgement.score is not None
    assert suspicious - 1e-5 < judgement.score < np.float32(judgement.score + 1e-7) < suspicious
    beside = JUDGE.judge(never, "default").score
    assert beside is not None
    assert beside < judgement.score  # it came nearer than one that was never flagged


def test_each_frame_has_its_own_copy() -> None:
    frames = np.array([[3, 0, 0], [2.1, 0, 0]], dtype=np.float32)
    copies = np.array([[0, 0, 0], [2.2, 0, 0]], dtype=np.float32)
    judgement = JUDGE.judge(frames, "default", copies)
    assert judgement.logits["pin_clip"] == pytest.approx(2.1)
    assert judgement.reasons == (Reason.ABOVE_SYNTHETIC, Reason.RECHECKED, Reason.ANIMATED)


def test_detectors_with_a_say_that_disagree_make_a_picture_suspicious_and_never_synthetic() -> None:
    fusion = Fusion(MANIFEST)
    assert fusion.spread(fusion.calibrate(row(3, 4, 50))).tolist() == [1.0]  # 5 and 4; masm has no weight
    judge = Judge(MANIFEST, replace(POLICY, disagreement=3.0))
    apart = judge.judge(row(-3, -4, 0), "t")
    assert (apart.verdict, apart.reasons) == ("suspicious", (Reason.DETECTORS_DISAGREE,))
    assert judge.judge(row(-3, -4.1, 0), "t").verdict == "authentic"
    assert judge.judge(row(-3, -4, 0), "t", row(-3.1, -4.5, 0)).verdict == "authentic"  # its copy: 2.7 apart
    assert JUDGE.judge(row(-3, -4, 0), "t").verdict == "authentic"


@given(st.tuples(logit, logit, logit), st.tuples(logit, logit, logit))
def test_a_copy_never_makes_a_verdict_worse_and_its_order_does_not_matter(
    first: tuple[float, float, float], copy: tuple[float, float, float]
) -> None:
    judge = Judge(MANIFEST, replace(POLICY, disagreement=8.0))
    worst_last = ["authentic", "suspicious", "synthetic"]
    together, turned = judge.judge(row(*first), "t", row(*copy)), judge.judge(row(*copy), "t", row(*first))
    assert (together.verdict, together.score) == (turned.verdict, turned.score)
    for one in (first, copy):
        assert worst_last.index(together.verdict) <= worst_last.index(judge.judge(row(*one), "t").verdict)


def test_a_face_is_calibrated_by_its_own_line_and_told_of() -> None:
    masm = MANIFEST.detectors[2].model_copy(update={"face_line": (3.0, -2.0), "weight": 1.0})
    manifest = MANIFEST.model_copy(update={"detectors": (*MANIFEST.detectors[:2], masm)})
    logits, faces = np.vstack([row(3, 4, -1), row(3, 4, -1)]), np.array([True, False])
    assert Fusion(manifest).calibrate(logits, faces).tolist() == [[5.0, 4.0, -5.0], [5.0, 4.0, 0.0]]
    judge = Judge(manifest, POLICY)  # 3 with the face's -5 is -2, without it 3
    seen = [judge.judge(row(3, 4, -1), "t", None, np.array([face])) for face in (True, False)]
    assert [one.verdict for one in seen] == ["authentic", "synthetic"]
    assert [one.reasons for one in seen] == [(Reason.FACE,), (Reason.ABOVE_SYNTHETIC,)]
    assert not judge.doubtful(row(3, 4, -1), "t", np.array([True]))
    assert judge.judge(logits, "t", None, faces).reasons == (Reason.ABOVE_SYNTHETIC, Reason.ANIMATED)
