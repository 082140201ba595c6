"""A detector of somebody else as a graph of its own, beside its own forward pass on golden pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from models.bundle import load_bundle
from models.importing.imported import Imported
from models.importing.kinds import Kind, Request, import_file
from models.scoring import open_engine
from models.spec import ViewSpec
from models.towers.weights import WeightsError
from models.views import render
from trt_build.export import export_graph, forget_origin
from trt_build.graph_file import read_graph
from trt_build.halve import halve, round_constants, round_weights
from trt_build.onnx_file import as_member, read_onnx
from trt_build.pack import golden_pictures

Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # view [N, S, S, 3] -> [N, 1]


@dataclass(frozen=True, slots=True)
class Member:
    """One more detector."""

    kind: str
    view: ViewSpec
    graph: onnx.ModelProto  # reads the view by its name, gives `logits` [N, 1]
    forward: Forward  # the source's own
    architecture: str
    facts: dict[str, Any]


def make_member(request: Request, kind: Kind, *, half: bool) -> Member:
    """Read, check and export. `half` rounds large weights to float16. Raises WeightsError."""
    if kind == "onnx":
        return _from_onnx(request, half=half)
    if kind == "bundle":
        return _from_bundle(request.path)
    imported = import_file(request, kind)
    forward = _torch_forward(imported)
    facts = dict(imported.facts)
    if half:
        exact = forward(golden_view(imported.view))
        round_weights(imported.net)
        facts["rounded_to_float16"] = _moved(exact, forward(golden_view(imported.view)))
    graph = export_graph(imported.net, [imported.view])
    return Member(kind, imported.view, graph, forward, imported.architecture, facts)


def golden_view(view: ViewSpec) -> NDArray[np.uint8]:
    """The golden pictures in that view [G, S, S, 3]."""
    return np.stack([render(picture, view) for picture in golden_pictures()])


def _from_onnx(request: Request, *, half: bool) -> Member:
    file = read_onnx(request.path, request.given, request.synthetic)
    prepared, view = file.prepared, file.prepared.view()
    facts: dict[str, Any] = {"mean": prepared.mean, "std": prepared.std, "synthetic_index": file.synthetic}
    if half:
        exact = file.logits(golden_view(view))
        round_constants(file.model)
        facts["rounded_to_float16"] = _moved(exact, file.logits(golden_view(view)))
    graph = as_member(file)
    halve(graph)
    forget_origin(graph)
    return Member("onnx", view, graph, file.logits, "ONNX graph", facts)


def _from_bundle(path: Path) -> Member:
    """A detector that was trained and exported by itself; its calibration stays behind."""
    bundle = load_bundle(path)
    manifest, run = bundle.manifest, open_engine(bundle)
    if len(manifest.detectors) != 1:
        names = ", ".join(detector.name for detector in manifest.detectors)
        raise WeightsError(f"{path} is a bundle of {names}: only one detector can join another bundle")
    view = manifest.views[0]
    facts = {"bundle": bundle.id, "training": manifest.training, "licences": manifest.licences}
    return Member(
        "bundle", view, read_graph(bundle.onnx), lambda seen: run({view.name: seen}), manifest.tower, facts
    )


def _torch_forward(imported: Imported) -> Forward:
    def forward(view: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            rows = [imported.net({imported.view.name: torch.from_numpy(one)[None]}) for one in view]
        return np.asarray(torch.cat(rows).numpy(), dtype=np.float32)

    return forward


def _moved(exact: NDArray[np.float32], rounded: NDArray[np.float32]) -> str:
    return f"moves the golden logits by {float(np.abs(exact - rounded).max()):.1e} at most"
