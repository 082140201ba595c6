"""A detector that was trained and exported by itself joins the bundle of others."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from models.bundle import load_bundle
from models.ensemble import Ensemble
from models.probe import Probe
from models.scoring import Views, open_engine
from models.spec import ViewSpec
from models.towers.registry import pretrained_tower
from stream.cli import build
from trt_build.pack import pack
from trt_build.tiny import write_tiny_bundle

VIEW = ViewSpec(name="global", kind="global", size=64)


def probe_alone(out: Path, view: ViewSpec, *blocks: int) -> Path:
    """A bundle of one probe of random weights, all of the tower shared."""
    torch.manual_seed(3)
    tower = pretrained_tower("tiny").eval().requires_grad_(False)
    probe = Probe(tower, len(tower.blocks), blocks=blocks)
    torch.nn.init.normal_(probe.branch.head.weight)
    ensemble = Ensemble(tower, [probe.branch], [view], [view.name]).eval().requires_grad_(False)
    return pack(ensemble, "probe", {"pictures": {"real:a": 3}}, {}, out).path


def noise(views: Iterable[ViewSpec], count: int) -> Views:
    rng = np.random.default_rng(0)
    return {
        view.name: rng.integers(0, 256, (count, view.size, view.size, 3), dtype=np.uint8) for view in views
    }


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On inner blocks."""
    return probe_alone(tmp_path_factory.mktemp("own") / "probe", VIEW, 0, 1, 2)


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build("model"), ["model", "import", *arguments])
    return result.exit_code, result.output


def test_its_logit_is_the_last_column_and_the_others_stay(own: Path, tmp_path: Path) -> None:
    base = write_tiny_bundle(tmp_path / "tiny", one_file=0)  # as that of a large tower
    status, said = command(
        str(own), "--into", str(base.path), "--name", "probe", "--out", str(tmp_path / "both")
    )
    assert status == 0, said
    both, alone = load_bundle(tmp_path / "both"), load_bundle(own)
    assert [one.name for one in both.manifest.detectors][-1] == "probe"
    assert both.manifest.training["imported"]["probe"]["bundle"] == alone.id
    views = noise(both.manifest.views, 5)
    logits = open_engine(both)(views)
    read = both.manifest.detectors[-1].view
    assert np.allclose(logits[:, -1:], open_engine(alone)({"global": views[read]}), atol=1e-5)
    theirs = {view.name: views[view.name] for view in base.manifest.views}
    assert np.allclose(logits[:, :-1], open_engine(base)(theirs), atol=1e-5)


def test_a_residual_is_made_of_pixels_that_the_bundle_has(tmp_path: Path) -> None:
    """The view is not rendered, and not sent to the engine, a second time."""
    base = write_tiny_bundle(tmp_path / "tiny")
    known = base.manifest.views[0]
    traces = known.model_copy(update={"name": "traces", "residual": not known.residual})
    alone = load_bundle(probe_alone(tmp_path / "alone", traces))
    status, said = command(
        str(alone.path), "--into", str(base.path), "--name", "probe", "--out", str(tmp_path / "both")
    )
    assert status == 0, said
    both = load_bundle(tmp_path / "both")
    assert both.manifest.views == base.manifest.views
    assert both.manifest.detectors[-1].view == known.name
    views = noise(both.manifest.views, 2)
    expected = open_engine(alone)({"traces": views[known.name]})
    assert np.allclose(open_engine(both)(views)[:, -1:], expected, atol=1e-5)


def test_a_bundle_of_several_detectors_is_refused(own: Path, tmp_path: Path) -> None:
    base = write_tiny_bundle(tmp_path / "tiny")
    status, said = command(
        str(base.path), "--into", str(own), "--name", "more", "--out", str(tmp_path / "both")
    )
    assert status == 1
    assert "only one detector can join" in said
