"""A bundle -> its int8 or fp8 bundle, where a gate lets it through: each detector's AUC, before and after.

Nothing is written where the gate refuses. What is written is calibrated anew on its own logits: thresholds
that were set on float logits promise nothing about these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray

from models.bundle import CARD, GOLDEN, ONNX, Bundle, load_bundle, write_bundle
from models.data import Split, load_at
from models.fit import SHORT_SIDE, recalibrate
from models.layouts import Picture
from models.metrics import auc
from models.policy_fit import Chosen, Rates
from models.scoring import BATCH, Engine, Scored, Views, open_engine, probabilities, score
from models.spec import Manifest, Quantisation
from models.views import render_all
from trt_build.eight_bits import INT8, Kind
from trt_build.graph_file import ONE_FILE, read_graph, write_graph
from trt_build.qdq import QuantisationError, quantised
from trt_build.verify import run_onnx

CALIBRATION = 64  # pictures that set the ranges
# Engines add in different orders, and a rounding step turns the last bit of a sum into a step of 8 bits.
TOLERANCE = 0.5
# What the gate runs: what serves such a bundle on a CPU. OpenVINO reads fp8 and computes something else.
JUDGES: dict[str, Engine] = {"int8": "openvino", "fp8": "onnxruntime"}


@dataclass(frozen=True, slots=True)
class Done:
    """A bundle of 8 bits that was let through, and where its thresholds come from."""

    bundle: Bundle
    chosen: Chosen


def quantise_bundle(
    bundle: Bundle,
    split: Split,
    out: Path,
    rates: Rates,
    max_auc_loss: float,
    kind: Kind = INT8,
    *,
    told: Callable[[Quantisation], None] = lambda _: None,
    one_file: int = ONE_FILE,
) -> Done:
    """Quantise with training pictures, judge on the validation pictures, calibrate, write `out`.

    `told` gets the gate's figures, also of a graph that is refused. Weights of more than `one_file` bytes
    lie beside the graph. Raises QuantisationError, CalibrationError.
    """
    _require(bundle, split, out)
    batches = _batches(bundle.manifest, split.train)
    graph = quantised(read_graph(bundle.onnx), batches, kind, one_file)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{kind.name}-") as scratch:
        folder = Path(scratch, "bundle")
        folder.mkdir()
        made = _written(folder, bundle, graph, kind, one_file)
        calibrating = sum(len(next(iter(batch.values()))) for batch in batches)
        found = gate(bundle, made, split.validation, kind, calibrating, max_auc_loss)
        told(found)
        require_accepted(found)
        manifest = made.manifest.model_copy(update={"quantisation": found})
        _, chosen = recalibrate(write_bundle(folder, fields_of(manifest)), split, rates)
        folder.rename(out)
    return Done(load_bundle(out), chosen)


def gate(
    bundle: Bundle,
    made: Bundle,
    pictures: Sequence[Picture],
    kind: Kind,
    calibrating: int,
    max_auc_loss: float,
) -> Quantisation:
    """Both graphs on the same pictures, in the same engine."""
    views, engine = bundle.manifest.views, JUDGES[kind.name]
    before, after = (
        score(open_engine(one, engine), views, pictures, short_side=SHORT_SIDE) for one in (bundle, made)
    )
    aucs = [_aucs(bundle.manifest, one, pictures) for one in (before, after)]
    names = [detector.name for detector in bundle.manifest.detectors]
    scores = [probabilities(bundle.manifest, one) for one in (before, after)]
    return Quantisation(
        precision=kind.name,
        source=bundle.id,
        calibration_pictures=calibrating,
        pictures=len(pictures),
        max_auc_loss=max_auc_loss,
        auc={name: (aucs[0][index], aucs[1][index]) for index, name in enumerate(names)},
        score_auc=(aucs[0][-1], aucs[1][-1]),
        largest_drift=round(float(np.abs(scores[0] - scores[1]).max()), 4),
    )


def require_accepted(found: Quantisation) -> None:
    """Raises QuantisationError naming everything that loses more than the limit."""
    losses = {name: before - after for name, (before, after) in found.auc.items()}
    losses["the fused score"] = found.score_auc[0] - found.score_auc[1]
    beyond = [f"{name} {loss:.4f}" for name, loss in losses.items() if not loss <= found.max_auc_loss]
    if beyond:
        raise QuantisationError(
            f"{found.precision} loses more than {found.max_auc_loss:g} of AUC on {found.pictures} pictures "
            f"({', '.join(beyond)}): nothing was written; serve the float bundle, or allow more with "
            "--max-auc-loss"
        )


def fields_of(manifest: Manifest) -> dict[str, object]:
    """What `write_bundle` takes."""
    names = [name for name in Manifest.model_fields if name not in ("files", "schema_")]
    return {name: getattr(manifest, name) for name in names}


def _require(bundle: Bundle, split: Split, out: Path) -> None:
    if bundle.manifest.quantisation is not None:
        raise QuantisationError(
            f"{bundle.path} is {bundle.manifest.quantisation.precision} already: quantise the float bundle "
            "that it came of"
        )
    if out.exists() and any(out.iterdir()):
        raise QuantisationError(f"{out} is not empty: state another --out, a bundle is never written over")
    if not split.train or {picture.label for picture in split.validation} != {0, 1}:
        raise QuantisationError(
            "the data has too few pictures: some to set ranges, and real and synthetic ones to judge by"
        )


def _batches(manifest: Manifest, pictures: Sequence[Picture]) -> list[Views]:
    """Views of a fixed draw of the pictures, as they are calibrated and judged: at one short side."""
    count = min(CALIBRATION, len(pictures))
    drawn = np.random.default_rng(0).choice(len(pictures), count, replace=False)
    rendered = [render_all(load_at(pictures[index], SHORT_SIDE), manifest.views) for index in drawn]
    chunks = [rendered[start : start + BATCH] for start in range(0, count, BATCH)]
    return [{name: np.stack([one[name] for one in chunk]) for name in chunk[0]} for chunk in chunks]


def _written(folder: Path, bundle: Bundle, graph: onnx.ModelProto, kind: Kind, one_file: int) -> Bundle:
    """The bundle with this graph; golden logits are this graph's own, by the reference runtime."""
    write_graph(graph, folder / ONNX, one_file)
    views, _ = bundle.golden()
    np.savez_compressed(folder / GOLDEN, logits=run_onnx(folder / ONNX, views), **views)  # type: ignore[arg-type]
    (folder / CARD).write_bytes((bundle.path / CARD).read_bytes())
    manifest = bundle.manifest.model_copy(
        update={
            "name": f"{bundle.manifest.name}-{kind.name}",
            "golden_tolerance": dict.fromkeys((kind.name, "f32", "f16"), TOLERANCE),
        }
    )
    return write_bundle(folder, fields_of(manifest))


def _aucs(manifest: Manifest, found: Scored, pictures: Sequence[Picture]) -> list[float]:
    """Mean over generators of the AUC against all reals: of each detector's logit, then of the score."""
    columns: list[NDArray[np.float64]] = [*found.logits.T, probabilities(manifest, found)]
    labels = np.array([picture.label for picture in pictures])
    generators = np.array([picture.generator for picture in pictures])
    names = np.unique(generators[labels == 1])
    return [
        round(float(np.mean([auc(one[labels == 0], one[generators == name]) for name in names])), 5)
        for one in columns
    ]
