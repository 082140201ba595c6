"""The probe's head: the optimum of its regression, folded into one linear layer that serves raw features."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from models.augment import NONE, jpeg
from models.data import load_at
from models.ensemble import Ensemble
from models.layouts import Picture, scan
from models.matched_filter import matched_filter
from models.metrics import auc
from models.probe import Probe
from models.probe_fit import FILE, Frozen, fit_probe, picture_weights
from models.spec import ViewSpec
from models.towers.registry import pretrained_tower
from models.views import render_all

VIEW = ViewSpec(name="global", kind="global", size=64)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    """Noise, and the same noise blurred."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for label in ("real/noise", "fake/blur"):
        (root / label).mkdir(parents=True)
    for index in range(16):
        picture = Image.fromarray(rng.integers(0, 256, (64, 72, 3), dtype=np.uint8))
        picture.save(root / "real/noise" / f"{index}.png")
        picture.resize((24, 21)).resize((72, 64)).save(root / "fake/blur" / f"{index}.png")
    return scan(root)


def frozen(**options: Any) -> Frozen:
    torch.manual_seed(0)
    tower = pretrained_tower("tiny").eval().requires_grad_(False)
    return Frozen(tower, Probe(tower, 1, blocks=(0, 2), **options), VIEW, (64, 64))


def fit(one: Frozen, train: list[Picture], validation: list[Picture], folder: Path) -> float:
    return fit_probe(
        one, train, validation, family_weights={}, folder=folder, progress=lambda stage, step, steps: None
    )


def test_what_is_served_is_the_regression_on_standardised_features(
    pictures: list[Picture], tmp_path: Path
) -> None:
    train, validation = pictures[:8] + pictures[16:24], pictures[8:16] + pictures[24:]
    one = frozen()
    strength = fit(one, train, validation, tmp_path)
    stored = np.load(tmp_path / FILE)
    rows, labels = stored["fitted"], np.repeat([picture.label for picture in train], 3)
    scaler = StandardScaler().fit(rows)
    model = LogisticRegression(C=strength / len(rows), max_iter=400).fit(scaler.transform(rows), labels)
    clean = np.concatenate([one.features(picture, (NONE,)) for picture in validation])
    assert np.allclose(clean, stored["judged"], atol=1e-5)
    expected = model.decision_function(scaler.transform(clean))

    ensemble = Ensemble(one.tower, [one.probe.branch], [VIEW], ["global"]).eval()
    seen = np.stack([render_all(load_at(picture, 64), [VIEW])["global"] for picture in validation])
    with torch.inference_mode():
        served = ensemble({"global": torch.from_numpy(seen)})[:, 0].numpy()
    assert served == pytest.approx(expected, abs=1e-3)
    truth = np.array([picture.label for picture in validation])
    assert auc(served[truth == 0], served[truth == 1]) > 0.9


def test_the_matched_filter_stands_beside_the_regression_at_its_spread(
    pictures: list[Picture], tmp_path: Path
) -> None:
    alone, both = frozen(), frozen()
    both.probe.matched = 2.0
    for one in (alone, both):
        fit(one, pictures, [], tmp_path)
    rows = np.load(tmp_path / FILE)["fitted"]
    labels = np.repeat([picture.label for picture in pictures], 3)
    first, sum_of_two = (one.probe.branch.head.weight[0].detach().numpy() for one in (alone, both))
    second = matched_filter(rows.reshape(len(pictures), 3, -1), pictures)
    spread = [(rows[labels == 0] @ weights).std() for weights in (first, second, sum_of_two - first)]
    assert spread[2] == pytest.approx(2 * spread[0], rel=1e-3)
    assert np.corrcoef(second, sum_of_two - first)[0, 1] > 0.999
    logits = rows @ sum_of_two + both.probe.branch.head.bias.detach().numpy()
    assert logits[labels == 0].mean() == pytest.approx(-logits[labels == 1].mean(), rel=1e-2)


def test_a_feature_counts_no_further_than_the_bound(pictures: list[Picture], tmp_path: Path) -> None:
    """In the regression and where it is served; the matched filter sees the same."""
    one = frozen(bound=1.5, matched=0.5)
    strength = fit(one, pictures, pictures[8:24], tmp_path)
    rows = np.load(tmp_path / FILE)["fitted"]
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    held = rows.clip(mean - 1.5 * spread, mean + 1.5 * spread)
    assert (held != rows).mean() > 0.01
    labels = np.repeat([picture.label for picture in pictures], 3)
    model = LogisticRegression(C=strength / len(rows), max_iter=400)
    model.fit((held - mean) / spread, labels)
    first = model.coef_[0] / spread
    second = matched_filter(held.reshape(len(pictures), 3, -1), pictures)
    reals = held[labels == 0]
    expected = first + 0.5 * (reals @ first).std() / (reals @ second).std() * second
    head = one.probe.branch.head
    assert head.weight[0].detach().numpy() == pytest.approx(expected, rel=1e-2, abs=1e-3)
    far = torch.from_numpy(np.stack([mean + 1.5 * spread, mean + 100 * spread]))
    bounds = one.probe.branch.bounds
    assert bounds is not None
    near, limit = head(bounds(far))[:, 0].tolist()
    assert near == pytest.approx(limit, abs=1e-3)
    assert head(far)[1].item() != pytest.approx(limit, abs=1.0)


def test_training_sees_a_copy_that_was_only_saved_as_jpeg(pictures: list[Picture], tmp_path: Path) -> None:
    plain, resaved = frozen(), frozen(resaved=90)
    for name, one in (("plain", plain), ("resaved", resaved)):
        (tmp_path / name).mkdir()
        fit(one, pictures, pictures[:2], tmp_path / name)
    rows, more = (np.load(tmp_path / name / FILE) for name in ("plain", "resaved"))
    each = more["fitted"].reshape(len(pictures), 4, -1)
    # The same copies as without; torch may round otherwise in a batch of four.
    assert np.allclose(each[:, :3].reshape(rows["fitted"].shape), rows["fitted"], atol=1e-5)
    assert np.array_equal(more["judged"], rows["judged"])  # what chooses the strength is as it was
    saved = jpeg(load_at(pictures[0], 64), 90)
    view = render_all(saved, [VIEW])["global"].copy()
    seen = torch.from_numpy(view)[None].permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        branch, tower = resaved.probe.branch, resaved.tower
        expected = branch.features(tower, *tower.tapped_prefix(seen, branch.start, branch.taps))[0]
    assert np.allclose(each[0, 3], expected.numpy(), atol=1e-4)


def test_a_limit_keeps_the_order_and_is_never_passed(pictures: list[Picture], tmp_path: Path) -> None:
    free, held = frozen(), frozen(limit=2.0)
    for one in (free, held):
        fit(one, pictures, [], tmp_path)
    seen = np.stack([render_all(load_at(picture, 64), [VIEW])["global"] for picture in pictures])
    with torch.inference_mode():
        plain, limited = (
            Ensemble(one.tower, [one.probe.branch], [VIEW], ["global"]).eval()(
                {"global": torch.from_numpy(seen)}
            )
            for one in (free, held)
        )
    assert plain.abs().max() > 2
    assert limited.abs().max() <= 2
    assert torch.allclose(limited, 2 * torch.tanh(plain / 2))


def test_a_given_strength_is_not_chosen(pictures: list[Picture], tmp_path: Path) -> None:
    weights = []
    for strength in (0.5, 5000.0):
        one = frozen()
        one.probe.strength = strength
        assert fit(one, pictures[:8] + pictures[16:24], pictures[8:16] + pictures[24:], tmp_path) == strength
        weights.append(one.probe.branch.head.weight.abs().sum().item())
    assert weights[0] < weights[1]


def test_features_that_lie_there_are_not_computed_again(pictures: list[Picture], tmp_path: Path) -> None:
    one, again = frozen(), frozen()
    fit(one, pictures, [], tmp_path)
    gone = [picture.__class__(tmp_path / "gone.png", *_rest(picture)) for picture in pictures]
    fit(again, gone, [], tmp_path)
    assert torch.equal(one.probe.branch.head.weight, again.probe.branch.head.weight)


def _rest(picture: Picture) -> tuple[int, str, str, str, str]:
    return picture.label, picture.generator, picture.family, picture.source, picture.group


def test_classes_weigh_alike_and_families_as_told() -> None:
    families = ["", "", "", "a", "a", "b"]
    some = [Picture(Path(), int(bool(name)), name, name, "s", str(i)) for i, name in enumerate(families)]
    weights = picture_weights(some, {"a": 3.0})
    assert weights[:3].sum() == pytest.approx(weights[3:].sum())
    assert weights[3:5].sum() == pytest.approx(3 * weights[5])
    assert weights.mean() == pytest.approx(1)
