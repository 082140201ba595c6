"""Which kind of file it is, and reading it as that."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.bundle import MANIFEST
from models.importing.dgs_net import is_dgs_net
from models.importing.effort import tree_of
from models.importing.imported import CONFIG, Imported, read_json, weights_in
from models.importing.preprocessing import Given
from models.importing.published import PUBLISHED, Source
from models.importing.univfd import is_univfd
from models.towers.weights import WeightsError, read_weights, some

Kind = Literal["bundle", "dgs-net", "effort", "univfd", "community-forensics", "timm", "transformers", "onnx"]
LAYOUTS = {
    "dgs-net": "img_fc.weight and clip_model.visual.*",
    "effort": "backbone.* and head.*, or model.vision_model.* and fc.*, with S_residual",
    "univfd": "weight and bias alone",
    "community-forensics": "vit.* with vit.head.weight",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks to have imported."""

    path: Path
    given: Given
    clip: Path | None = None
    lora_scale: float | None = None
    architecture: str | None = None  # timm's name of it
    synthetic: int | None = None  # which output says synthetic


def kind_of(request: Request) -> Kind:
    """By the suffix, by config.json, or by the names of the weights. Raises WeightsError for none of them."""
    path = request.path
    if path.suffix == ".onnx":
        return "onnx"
    if (path / MANIFEST).exists():
        return "bundle"
    if request.architecture:
        return "timm"
    config = read_json(path / CONFIG) if (path / CONFIG).exists() else {}
    if "architectures" in config:
        return "transformers"
    return "timm" if "architecture" in config else _by_names(path)


def _by_names(path: Path) -> Kind:
    from models.importing.timm_file import is_community_forensics  # timm takes a second to import

    state = read_weights(weights_in(path))
    if is_dgs_net(state):
        return "dgs-net"
    if tree_of(state):
        return "effort"
    if is_univfd(state):
        return "univfd"
    if is_community_forensics(state):
        return "community-forensics"
    layouts = "; ".join(f"{kind}: {names}" for kind, names in LAYOUTS.items())
    raise WeightsError(
        f"{path} has none of the known layouts ({layouts}): it holds {some(state)}. State --timm NAME for a "
        "classifier of timm, or --kind to be told what is missing"
    )


def import_file(request: Request, kind: Kind) -> Imported:
    """Read it as that kind, but for ONNX files and bundles, which are graphs already. Raises WeightsError."""
    if kind in PUBLISHED:
        state = read_weights(weights_in(request.path))
        source = Source(request.path, state, request.given, request.clip, request.lora_scale)
        return PUBLISHED[kind](source)
    if kind == "transformers":
        from models.importing.transformers_folder import import_transformers

        return import_transformers(request.path, request.given, request.synthetic)
    from models.importing.timm_file import import_community_forensics, import_timm

    if kind == "timm":
        return import_timm(request.path, request.architecture, request.given, request.synthetic)
    return import_community_forensics(request.path, request.given)
