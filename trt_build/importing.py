"""`pixassay model import`: a detector of somebody else becomes a bundle, or joins one."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from models.bundle import CARD, GOLDEN, ONNX, Bundle, load_bundle, sha256_of, write_bundle
from models.card import imported_section, render_card
from models.importing.imported import weights_in
from models.importing.kinds import Request
from models.spec import VIEWS_VERSION, DetectorSpec, Manifest, ViewSpec
from models.towers.weights import WeightsError
from trt_build.graph_file import read_graph, write_graph
from trt_build.licences import NOT_STATED
from trt_build.member import Member, golden_view
from trt_build.merge import merged
from trt_build.pack import GOLDEN_TOLERANCE, UNCALIBRATED, ExportError
from trt_build.verify import TOLERANCE, golden_difference


@dataclass(frozen=True, slots=True)
class Entry:
    """How a member is entered in a bundle."""

    name: str  # of the detector: a column of the logits
    licence: str
    facts: dict[str, Any]  # what the manifest keeps of where it came from


def entry(request: Request, member: Member, name: str, licence: str | None) -> Entry:
    """The entry, with the hashes of the files that were read."""
    file = request.path / ONNX if member.kind == "bundle" else weights_in(request.path)
    facts = {"kind": member.kind, "file": file.name, "sha256": sha256_of(file), **member.facts}
    if request.clip:
        facts |= {"clip_file": request.clip.name, "clip_sha256": sha256_of(request.clip)}
    stated = licence or NOT_STATED
    return Entry(name, stated, facts | {"architecture": member.architecture, "licence": stated})


def write_imported(member: Member, entered: Entry, out: Path) -> Bundle:
    """A bundle of this detector alone, not calibrated. Raises WeightsError, ExportError."""
    view = golden_view(member.view)
    detector = DetectorSpec(name=entered.name, view=member.view.name, slope=1, intercept=0, weight=1)
    fields = {
        "name": entered.name,
        "tower": member.architecture,
        "views_version": VIEWS_VERSION,
        "views": (member.view,),
        "detectors": (detector,),
        "fusion_bias": 0.0,
        "policy": UNCALIBRATED,
        "golden_tolerance": GOLDEN_TOLERANCE,
        "training": {"imported": {entered.name: entered.facts}},
        "metrics": {},
        "licences": {_licensed(entered): entered.licence},
    }
    card = render_card(Manifest.model_validate({**fields, "files": {}}))
    return _written(out, member.graph, {member.view.name: view}, member.forward(view), card, fields)


def add_imported(base: Bundle, member: Member, entered: Entry, out: Path) -> Bundle:
    """`base` with one more detector, of weight 0 until it is calibrated: verdicts stay what they are.

    Raises WeightsError, MergeError, ExportError.
    """
    manifest = base.manifest
    if entered.name in {detector.name for detector in manifest.detectors}:
        raise WeightsError(f"{base.path} has a detector {entered.name} already: state another --name")
    view, is_new = _placed(member.view, manifest.views, entered.name)
    _read_as(member.graph, member.view.name, view.name)
    graph = merged(read_graph(base.onnx), member.graph, entered.name)
    arrays, logits = base.golden()
    if is_new:
        rows = np.resize(np.arange(len(golden_view(view))), len(logits))  # as many as the bundle has
        arrays[view.name] = golden_view(view)[rows]
    columns = np.concatenate([logits, member.forward(arrays[view.name])], axis=1)
    detector = DetectorSpec(name=entered.name, view=view.name, slope=1, intercept=0, weight=0)
    policy = manifest.policy
    basis = f"{policy.basis}; {entered.name} joined later, uncalibrated and with weight 0"
    fields = {
        name: getattr(manifest, name) for name in Manifest.model_fields if name not in ("files", "schema_")
    }
    fields |= {
        "views": (*manifest.views, view) if is_new else manifest.views,
        "detectors": (*manifest.detectors, detector),
        "policy": policy.model_copy(update={"id": f"{policy.id}+{entered.name}", "basis": basis}),
        "training": {
            **manifest.training,
            "imported": {**manifest.training.get("imported", {}), entered.name: entered.facts},
        },
        "licences": {**manifest.licences, _licensed(entered): entered.licence},
    }
    card = (base.path / CARD).read_text(encoding="utf-8") if (base.path / CARD).exists() else ""
    card = f"{card.rstrip()}\n\n{imported_section(entered.name, entered.facts)}\n"
    return _written(out, graph, arrays, columns, card, fields)


def _written(
    out: Path,
    graph: onnx.ModelProto,
    views: dict[str, NDArray[np.uint8]],
    logits: NDArray[np.float32],
    card: str,
    fields: dict[str, Any],
) -> Bundle:
    """Write all of it and hold the graph against the golden logits. Raises WeightsError, ExportError."""
    if out.exists() and any(out.iterdir()):
        raise WeightsError(f"{out} is not empty: state another --out, since a bundle is never written over")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".import-") as scratch:
        folder = Path(scratch, "bundle")
        folder.mkdir()
        write_graph(graph, folder / ONNX)
        _require_sound(folder / ONNX)
        np.savez_compressed(folder / GOLDEN, logits=logits, **views)  # type: ignore[arg-type]
        (folder / CARD).write_text(card, encoding="utf-8")
        difference = golden_difference(write_bundle(folder, fields))
        if not difference <= TOLERANCE * max(1.0, float(np.abs(logits).max())):
            raise ExportError(f"the graph differs from its source by {difference:.2e}: nothing was written")
        folder.rename(out)
    return load_bundle(out)


def _placed(view: ViewSpec, views: tuple[ViewSpec, ...], name: str) -> tuple[ViewSpec, bool]:
    """The bundle's view of the same pixels, or this one under a name that is free; and whether it is new.

    A residual is made of the pixels inside the graph, by each detector for itself.
    """
    for known in views:
        if known.model_copy(update={"name": view.name, "residual": view.residual}) == view:
            return known, False
    taken = {known.name for known in views}
    return (view.model_copy(update={"name": f"{view.name}_{name}"}) if view.name in taken else view), True


def _require_sound(graph: Path) -> None:
    try:
        onnx.checker.check_model(graph)
    except onnx.checker.ValidationError as error:
        raise ExportError(
            f"the graph is not sound: {str(error).splitlines()[0]}: nothing was written"
        ) from error


def _read_as(graph: onnx.ModelProto, old: str, new: str) -> None:
    """Let the graph read its input under another name."""
    graph.graph.input[0].name = new
    for node in graph.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _licensed(entered: Entry) -> str:
    return f"{entered.name}: {entered.facts['file']}"
