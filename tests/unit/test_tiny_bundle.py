"""The exported graph is the torch ensemble, whatever the batch; a changed file is refused."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle, BundleError, load_bundle
from trt_build.tiny import write_tiny_bundle


@pytest.fixture
def folder(tiny_bundle: Bundle) -> Path:
    return tiny_bundle.path


def run(folder: Path, views: dict[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(folder / "ensemble.onnx"), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], views)[0])


def test_onnx_gives_the_golden_logits_of_torch(folder: Path) -> None:
    views, logits = load_bundle(folder).golden()
    assert logits.shape == (4, 3)
    assert logits.std(axis=0).min() > 1e-3  # the detectors do tell the pictures apart
    assert np.abs(run(folder, views) - logits).max() < 1e-4


def test_a_score_does_not_depend_on_the_rest_of_its_batch(folder: Path) -> None:
    views, logits = load_bundle(folder).golden()
    alone = np.concatenate([run(folder, {name: a[i : i + 1] for name, a in views.items()}) for i in range(4)])
    repeated = run(folder, {name: np.concatenate([a, a[::-1], a]) for name, a in views.items()})
    assert np.abs(alone - logits).max() < 1e-5
    assert np.abs(repeated - np.concatenate([logits, logits[::-1], logits])).max() < 1e-5


def test_a_graph_tells_nothing_of_the_machine_that_exported_it(folder: Path) -> None:
    graph = (folder / "ensemble.onnx").read_bytes()
    assert b"stack_trace" not in graph
    assert str(Path(__file__).resolve().parents[2]).encode() not in graph


@pytest.mark.parametrize("name", ["ensemble.onnx", "golden.npz", "model_card.md"])
def test_a_changed_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(BundleError, match=f"{name} was changed"):
        load_bundle(tmp_path)


def test_the_id_names_the_contents(folder: Path, tmp_path: Path) -> None:
    assert load_bundle(folder).id != write_tiny_bundle(tmp_path, seed=1).id
