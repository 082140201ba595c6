"""The bundle that ships: whole, small, equal to torch's golden logits, and honest about itself."""

import numpy as np
import pytest

from models.bundle import BUNDLED, Bundle, load_bundle
from models.scoring import open_engine
from trt_build.verify import TOLERANCE, golden_difference


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(BUNDLED)


def test_it_is_whole_and_small(bundle: Bundle) -> None:
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) < 25_000_000
    assert [detector.name for detector in bundle.manifest.detectors] == [
        "pin_clip",
        "dgs_net",
        "masm",
        "probe",
        "statistics",
    ]
    assert len(bundle.manifest.views) == 1  # all of them read the same pixels


def test_the_reference_runtime_gives_torchs_logits(bundle: Bundle) -> None:
    assert golden_difference(bundle) <= TOLERANCE


def test_openvino_gives_them_too(bundle: Bundle) -> None:
    views, logits = bundle.golden()
    assert (
        np.abs(open_engine(bundle, "openvino")(views) - logits).max()
        <= bundle.manifest.golden_tolerance["bf16"]
    )


def test_detectors_disagree_on_something(bundle: Bundle) -> None:
    _, logits = bundle.golden()
    assert all(np.ptp(logits[:, [a, b]], axis=1).max() > 1e-2 for a, b in ((0, 1), (1, 2), (0, 2)))


def test_it_says_what_it_is_not_for(bundle: Bundle) -> None:
    card = (bundle.path / "model_card.md").read_text(encoding="utf-8")
    assert "not a reliable detector" in card
    assert bundle.manifest.policy.basis in card
    assert bundle.manifest.training["held_out"]  # thresholds come from sources that training did not see
