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
from models.evaluation.comparison import method_rows
from models.evaluation.contenders import ENSEMBLE, MEAN, Method, beside, of_bundle
from models.evaluation.facts import file_facts
from models.evaluation.files import document, write_files
from models.evaluation.flips import flip_rows, flipped_verdicts
from models.evaluation.robustness import robustness_rows
from models.evaluation.run import Evaluation, Settings, evaluate_bundle, to_score
from models.evaluation.sample import sample
from models.evaluation.strata import stratum_rows
from models.evaluation.tables import Table, panel, tabulate
from models.evaluation.terminal import show
from models.layouts import Picture
from models.scoring import Scored, open_engine, probabilities, score

GRID = {"webp": partial(augment.webp, quality=60)}


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


def _method(scores: np.ndarray, *cuts: float, name: str = ENSEMBLE) -> Method:
    return Method(name, "", scores, scores, cuts or (0.5,))


def _table(pictures: list[Picture], scores: np.ndarray) -> Table:
    return tabulate(panel(pictures, draws=50), _method(scores))


def test_perfect_scores_give_a_perfect_table(pictures: list[Picture]) -> None:
    table = _table(pictures, 0.2 + 0.6 * _labels(pictures))
    assert [(row.generator, row.fakes, row.reals) for row in table.generators] == [
        ("one", 8, 16),
        ("two", 8, 16),
    ]
    assert table.summary["macro_auc"] == table.summary["worst_auc"] == table.summary["macro_tpr_at_1"] == 1.0
    assert table.summary["false_positive_rate"] == 0.0
    assert (table.macro.auc.low, table.macro.accuracy.value) == (1.0, 1.0)
    assert table.macro.ece.value == pytest.approx(0.2)
    assert [row.real_accuracy for row in table.sources] == [1.0, 1.0]
    assert all(row.upper > 0.3 for row in table.sources)  # eight reals prove little


def test_one_bad_generator_and_one_bad_source_show(pictures: list[Picture]) -> None:
    scores = 0.2 + 0.6 * _labels(pictures)
    for index, picture in enumerate(pictures):
        if picture.generator == "two":
            scores[index] = 0.1
        if picture.source == "coffee" and not picture.label:
            scores[index] = 0.6
    table = _table(pictures, scores)
    found = {row.generator: row.figures.fake_accuracy.value for row in table.generators}
    assert found == {"one": 1.0, "two": 0.0}
    assert {row.source: row.false_positive_rate for row in table.sources} == {"chelsea": 0.0, "coffee": 1.0}
    assert (table.worst.generator, table.summary["worst_auc"]) == ("two", 0.0)
    assert table.summary["worst_source_false_positive_rate"] == 1.0


def test_own_reals_are_those_of_the_fakes_sources(pictures: list[Picture]) -> None:
    """Source alone explains the scores: pooled AUC looks good, the AUC against own reals is chance."""
    only_coffee = [one for one in pictures if not one.label or one.source == "coffee"]
    scores = np.array([0.9 if one.source == "coffee" else 0.1 for one in only_coffee])
    row = _table(only_coffee, scores).generators[0]
    assert row.figures.auc.value == 0.75
    assert row.auc_own.value == 0.5


def test_file_facts_give_a_leak_of_size_away(pictures: list[Picture]) -> None:
    assert set(file_facts(pictures)) == {"short_side", "aspect", "bytes_per_pixel"}
    table = _table(pictures, np.full(len(pictures), 0.4))
    assert table.summary["macro_auc"] == 0.5
    assert table.summary["macro_facts_auc"] == 1.0


def test_a_detector_of_formats_has_nothing_to_say_within_one(pictures: list[Picture], tmp_path: Path) -> None:
    """Half of the reals become JPEG; the score is high on PNG alone."""
    stored = []
    for index, one in enumerate(pictures):
        path = one.path
        if not one.label and index % 4:
            path = tmp_path / f"{index}.jpg"
            Image.open(one.path).save(path, quality=85)
        stored.append(Picture(path, one.label, one.generator, one.family, one.source, one.group))
    scores = np.array([0.1 if one.path.suffix == ".jpg" else 0.9 for one in stored])
    on, method = panel(stored, draws=50), _method(scores)
    flipped = np.array([one.path.suffix == ".jpg" for one in stored])
    rows = {(row.dimension, row.stratum): row for row in stratum_rows(on, method, flipped)}
    assert tabulate(on, method).summary["macro_auc"] > 0.7
    png, jpeg = rows["format", "PNG"], rows["format", "JPEG"]
    assert (png.figures.auc.value, png.figures.real_accuracy.value, png.real_flips) == (0.5, 0.0, 0.0)
    assert (jpeg.fakes, jpeg.real_flips) == (0, 1.0)
    assert np.isnan(jpeg.figures.auc.value)
    assert rows["JPEG quality", "75 to 89"].reals == jpeg.reals
    assert rows["short side", "below 256"].fakes == 16


def test_a_method_is_compared_with_the_ensemble_on_the_same_draws(pictures: list[Picture]) -> None:
    """Two methods that say the same differ by nothing, however wide the interval of each."""
    rng, labels = np.random.default_rng(0), _labels(pictures)
    noisy = np.clip(0.4 + 0.2 * labels + rng.normal(0, 0.2, len(labels)), 0, 1)
    methods = {
        name: _method(scores, name=name)
        for name, scores in (
            (ENSEMBLE, noisy),
            ("same", noisy / 2),
            ("chance", rng.uniform(0, 1, len(labels))),
        )
    }
    on = panel(pictures, draws=200)
    rows = {row.method: row for row in method_rows(methods, {n: tabulate(on, m) for n, m in methods.items()})}
    assert rows["same"].figures.auc.high - rows["same"].figures.auc.low > 0.1
    same, chance = rows["same"].difference, rows["chance"].difference
    assert same.value == same.low == same.high == 0.0
    assert chance.value < 0
    assert chance.low < chance.value < chance.high


def test_flips_are_changes_of_the_verdict_not_of_the_score(pictures: list[Picture]) -> None:
    """Three verdicts: a change from `authentic` to `suspicious` counts; a change within one does not."""
    labels = _labels(pictures)
    method = _method(np.full(len(labels), 0.2), 0.4, 0.8)
    resaved = np.full(int((labels == 0).sum()), 0.39)
    resaved[0] = 0.4
    rows = flip_rows(pictures, flipped_verdicts(method, labels, _method(resaved, 0.4, 0.8)))
    assert [(row.source, row.reals, row.flips) for row in rows] == [
        ("all", 16, 1),
        ("chelsea", 8, 1),
        ("coffee", 8, 0),
    ]
    assert rows[0].upper > rows[0].rate == 1 / 16


def test_robustness_counts_changed_verdicts_of_each_class(pictures: list[Picture]) -> None:
    labels = _labels(pictures)
    clean = _method(0.2 + 0.6 * labels)
    after = _method(np.where(labels == 1, 0.1, clean.scores))
    rows = robustness_rows(panel(pictures, draws=1), {ENSEMBLE: clean}, {"jpeg": [after]})
    assert [(row.change, row.real_flips, row.fake_flips) for row in rows] == [("none", 0, 0), ("jpeg", 0, 1)]
    assert rows[1].macro_auc == 0.0
    assert rows[1].fake_accuracy == 0.0


def test_a_sample_is_even_and_repeats(pictures: list[Picture]) -> None:
    taken = sample(pictures, 3, seed=1)
    kinds = [one.generator or one.source for one in taken]
    assert {kind: kinds.count(kind) for kind in kinds} == {"chelsea": 3, "coffee": 3, "one": 3, "two": 3}
    assert taken == [one for one in pictures if one in taken]
    assert sample(pictures[::-1], 3, seed=1)[::-1] == taken
    assert sample(pictures, 3, seed=2) != taken


def test_both_runtimes_agree_and_a_batch_does_not_matter(
    tiny_bundle: Bundle, pictures: list[Picture]
) -> None:
    views = tiny_bundle.manifest.views
    reference = score(open_engine(tiny_bundle, "onnxruntime"), views, pictures, short_side=96).logits
    assert reference.shape == (len(pictures), len(tiny_bundle.manifest.detectors))
    served = score(open_engine(tiny_bundle, "openvino"), views, pictures, short_side=96).logits
    np.testing.assert_allclose(served, reference, atol=2e-3)
    backwards = score(open_engine(tiny_bundle), views, pictures[::-1], short_side=96).logits[::-1]
    np.testing.assert_allclose(backwards, reference, atol=1e-5)


def test_fused_probability_is_the_manifests_formula(tiny_bundle: Bundle) -> None:
    logits = np.array([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0]])
    calibrated = np.stack(
        [one.slope * logits[:, i] + one.intercept for i, one in enumerate(tiny_bundle.manifest.detectors)]
    )
    weights = np.array([one.weight for one in tiny_bundle.manifest.detectors])
    odds = tiny_bundle.manifest.fusion_bias + weights @ calibrated
    scored = Scored(logits, np.zeros(2, np.bool_))
    np.testing.assert_allclose(probabilities(tiny_bundle.manifest, scored), 1 / (1 + np.exp(-odds)))
    fused, mean, *singles = of_bundle(tiny_bundle, "onnxruntime").read(scored, scored)
    np.testing.assert_allclose(fused.scores, 1 / (1 + np.exp(-odds)))
    np.testing.assert_allclose(mean.scores, 1 / (1 + np.exp(-calibrated.mean(axis=0))))
    np.testing.assert_allclose([one.scores for one in singles], 1 / (1 + np.exp(-calibrated)))


@pytest.fixture(scope="module")
def found(tiny_bundle: Bundle, pictures: list[Picture]) -> Evaluation:
    """A whole evaluation, with the same bundle beside itself."""
    settings = Settings(short_side=96, grid=GRID, draws=50)
    seen: list[int] = []
    twin = beside("twin", tiny_bundle.path, "openvino")
    done = evaluate_bundle(tiny_bundle, pictures, settings, beside=[twin], progress=seen.append)
    assert sum(seen) == to_score(pictures, settings, 2) == 2 * 2 * len(pictures) + len(pictures) // 2
    return done


def test_what_stands_beside_is_a_row_like_the_others(found: Evaluation, tiny_bundle: Bundle) -> None:
    names = [detector.name for detector in tiny_bundle.manifest.detectors]
    assert [row.method for row in found.comparison] == [ENSEMBLE, MEAN, *names, "twin"]
    assert found.members == (*names, "twin")
    rows = {row.method: row for row in found.comparison}
    assert rows["twin"].figures.auc.value == pytest.approx(rows[ENSEMBLE].figures.auc.value, abs=0.02)
    np.testing.assert_allclose(np.diag(found.correlation), 1.0)
    assert {row.method for row in found.robust} == set(rows)


def test_an_evaluation_is_written_for_machines(found: Evaluation, tmp_path: Path) -> None:
    write_files(found, tmp_path)
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored == document(found)
    assert stored["bundle"]["id"] == found.bundle.id
    with (tmp_path / "generators.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["generator"] for row in rows if row["method"] == ENSEMBLE] == ["one", "two"]
    first = stored["tables"][ENSEMBLE]["generators"][0]
    assert float(rows[0]["auc"]) == first["figures"]["auc"]["value"]
    assert float(rows[0]["ece_high"]) == first["figures"]["ece"]["high"]
    with (tmp_path / "scores.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(found.panel.pictures)
    assert {file.stem for file in tmp_path.glob("*.csv")} == {
        *("methods", "generators", "sources", "strata", "flips", "robustness", "correlation", "scores")
    }


def test_an_evaluation_is_shown(found: Evaluation, tiny_bundle: Bundle) -> None:
    text = StringIO()
    show(found, Console(file=text, width=200))
    names = [detector.name for detector in tiny_bundle.manifest.detectors]
    for word in ("one", "two", "chelsea", "coffee", "webp", "twin", "not JPEG", MEAN, *names):
        assert word in text.getvalue()


def test_what_cannot_be_computed_is_null_in_json(
    tiny_bundle: Bundle, pictures: list[Picture], tmp_path: Path
) -> None:
    strangers = [
        one if not one.label else Picture(one.path, 1, "x", "x", "elsewhere", one.group) for one in pictures
    ]
    write_files(evaluate_bundle(tiny_bundle, strangers, Settings(short_side=96, draws=20)), tmp_path)
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored["tables"][ENSEMBLE]["generators"][0]["auc_own"]["value"] is None
    assert not (tmp_path / "robustness.csv").exists()
