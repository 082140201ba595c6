"""The tables on scores whose right answer is known, and a whole bundle through both runtimes."""

import csv
import json
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from skimage import data

from models import augment
from models.bundle import Bundle
from models.evaluate import file_facts, robustness, tabulate
from models.layouts import Picture
from models.report import evaluate_bundle, show, write
from models.scoring import Change, open_engine, probabilities, score


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    """Crops of two of scikit-image's photographs; that they are 20 % larger is all that tells the fakes."""
    folder = tmp_path_factory.mktemp("pictures")
    found: list[Picture] = []
    for source in ("chelsea", "coffee"):
        photograph = getattr(data, source)()
        for number in range(8):
            for label, side in ((0, 150), (1, 180)):
                generator = ("", "one" if number % 2 else "two")[label]
                path = folder / f"{source}{number}{label}.png"
                Image.fromarray(photograph[10 * number :][:side, 20 * number :][:, :side]).save(path)
                found.append(Picture(path, label, generator, generator, source, f"{source}/{number}"))
    return found


def _labels(pictures: list[Picture]) -> np.ndarray:
    return np.array([picture.label for picture in pictures], dtype=np.int64)


def test_perfect_scores_give_a_perfect_table(pictures: list[Picture]) -> None:
    table = tabulate(pictures, 0.2 + 0.6 * _labels(pictures), threshold=0.5, draws=50)
    assert [(row.generator, row.fakes, row.reals) for row in table.generators] == [
        ("one", 8, 16),
        ("two", 8, 16),
    ]
    assert table.summary["macro_auc"] == table.summary["worst_auc"] == table.summary["macro_tpr_at_1"] == 1.0
    assert table.summary["false_positive_rate"] == 0.0
    assert [row.real_accuracy for row in table.sources] == [1.0, 1.0]
    assert all(row.upper > 0.3 for row in table.sources)  # eight reals prove little


def test_one_bad_generator_and_one_bad_source_show(pictures: list[Picture]) -> None:
    scores = 0.2 + 0.6 * _labels(pictures)
    for index, picture in enumerate(pictures):
        if picture.generator == "two":
            scores[index] = 0.1
        if picture.source == "coffee" and not picture.label:
            scores[index] = 0.6
    table = tabulate(pictures, scores, threshold=0.5, draws=50)
    assert {row.generator: row.fake_accuracy for row in table.generators} == {"one": 1.0, "two": 0.0}
    assert {row.source: row.false_positive_rate for row in table.sources} == {"chelsea": 0.0, "coffee": 1.0}
    assert table.summary["worst_auc"] == 0.0
    assert table.summary["worst_source_false_positive_rate"] == 1.0


def test_own_reals_are_those_of_the_fakes_sources(pictures: list[Picture]) -> None:
    """Source alone explains the scores: pooled AUC looks good, the AUC against own reals is chance."""
    only_coffee = [one for one in pictures if not one.label or one.source == "coffee"]
    scores = np.array([0.9 if one.source == "coffee" else 0.1 for one in only_coffee])
    row = tabulate(only_coffee, scores, threshold=0.5, draws=20).generators[0]
    assert row.auc == 0.75
    assert row.auc_own == 0.5


def test_file_facts_give_a_leak_of_size_away(pictures: list[Picture]) -> None:
    assert set(file_facts(pictures)) == {"short_side", "aspect", "bytes_per_pixel"}
    table = tabulate(pictures, np.full(len(pictures), 0.5), threshold=0.6, draws=20)
    assert table.summary["macro_auc"] == 0.5
    assert table.summary["macro_facts_auc"] == 1.0


def test_robustness_counts_changed_verdicts_of_each_class(pictures: list[Picture]) -> None:
    labels = _labels(pictures)

    def scorer(change: Change | None) -> np.ndarray:
        clean = 0.2 + 0.6 * labels
        return clean if change is None else np.where(labels == 1, 0.1, clean)

    rows = robustness(pictures, scorer, threshold=0.5, grid={"jpeg": augment.screenshot})
    assert [(row.change, row.real_flips, row.fake_flips) for row in rows] == [("none", 0, 0), ("jpeg", 0, 1)]
    assert rows[1].macro_auc == 0.0
    assert rows[1].fake_accuracy == 0.0


def test_both_runtimes_agree_and_a_batch_does_not_matter(
    tiny_bundle: Bundle, pictures: list[Picture]
) -> None:
    views = tiny_bundle.manifest.views
    reference = score(open_engine(tiny_bundle, "onnxruntime"), views, pictures, short_side=96)
    assert reference.shape == (len(pictures), len(tiny_bundle.manifest.detectors))
    served = score(open_engine(tiny_bundle, "openvino"), views, pictures, short_side=96)
    np.testing.assert_allclose(served, reference, atol=2e-3)
    backwards = score(open_engine(tiny_bundle), views, pictures[::-1], short_side=96)[::-1]
    np.testing.assert_allclose(backwards, reference, atol=1e-5)


def test_fused_probability_is_the_manifests_formula(tiny_bundle: Bundle) -> None:
    logits = np.array([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0]])
    odds = tiny_bundle.manifest.fusion_bias + sum(
        one.weight * (one.slope * logits[:, index] + one.intercept)
        for index, one in enumerate(tiny_bundle.manifest.detectors)
    )
    np.testing.assert_allclose(probabilities(tiny_bundle.manifest, logits), 1 / (1 + np.exp(-odds)))


def test_an_evaluation_is_written_and_shown(
    tiny_bundle: Bundle, pictures: list[Picture], tmp_path: Path
) -> None:
    seen: list[int] = []
    found = evaluate_bundle(
        tiny_bundle,
        pictures,
        short_side=96,
        grid={"webp": partial(augment.webp, quality=60)},
        progress=seen.append,
    )
    write(found, tmp_path)
    stored = json.loads((tmp_path / "metrics.json").read_text())
    names = [detector.name for detector in tiny_bundle.manifest.detectors]
    assert list(stored["detectors"]) == names
    assert np.shape(stored["residual_correlation"]) == (len(names), len(names))
    with (tmp_path / "generators.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["generator"] for row in rows] == ["one", "two"]
    assert float(rows[0]["auc"]) == stored["generators"][0]["auc"]
    assert sum(seen) == 3 * len(pictures)  # once for the tables, twice for the grid with its baseline
    text = StringIO()
    show(found, Console(file=text, width=160))
    for word in ("one", "two", "chelsea", "coffee", "webp", *names):
        assert word in text.getvalue()


def test_what_cannot_be_computed_is_null_in_json(
    tiny_bundle: Bundle, pictures: list[Picture], tmp_path: Path
) -> None:
    strangers = [
        one if not one.label else Picture(one.path, 1, "x", "x", "elsewhere", one.group) for one in pictures
    ]
    write(evaluate_bundle(tiny_bundle, strangers, short_side=96), tmp_path)
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored["generators"][0]["auc_own"] is None
    assert not (tmp_path / "robustness.csv").exists()
