"""Weights of a timm classifier, with its name from the user, from config.json, or a known release."""

from pathlib import Path
from typing import Any

import timm
from timm.data.config import resolve_data_config
from torch import nn

from models.importing.classifier import Classifier, synthetic_class
from models.importing.imported import CONFIG, Imported, read_json, weights_in
from models.importing.preprocessing import IMAGENET, Given, Preprocessing, of_timm
from models.towers.weights import Origin, State, WeightsError, below, fill, read_weights

WRAPPER = "vit."  # Community Forensics keeps the network below this name


def import_timm(path: Path, architecture: str | None, given: Given, synthetic: int | None) -> Imported:
    """A weights file, or a folder as timm puts it on the hub. Raises WeightsError."""
    folder = path if path.is_dir() else path.parent
    config = read_json(folder / CONFIG) if (folder / CONFIG).exists() else {}
    name = architecture or config.get("architecture")
    if not isinstance(name, str):
        raise WeightsError(
            f"{path}: which network of timm is it? State --timm NAME, like vit_small_patch16_384"
        )
    net, outputs = _filled(name, read_weights(weights_in(path)))
    described: Any = resolve_data_config(_known(config.get("pretrained_cfg", {})), model=net)  # type: ignore[no-untyped-call]
    prepared, names = given.over(of_timm(described)), config.get("label_names", ())
    index = synthetic_class(str(path), outputs, names, synthetic)
    view = prepared.view()
    return Imported(
        "timm", Classifier(net, view, prepared, index).eval(), view, name, _facts(prepared, index)
    )


def is_community_forensics(state: State) -> bool:
    """Whether these are the weights of Community Forensics (Park and Owens, CVPR 2025)."""
    head = state.get(f"{WRAPPER}head.weight")
    return head is not None and head.shape[0] == 1 and all(name.startswith(WRAPPER) for name in state)


def import_community_forensics(path: Path, given: Given) -> Imported:
    """Its ViT-S/16 for 384 or 224 pixels, one logit. Raises WeightsError.

    timm's own configuration of that network would be wrong: it was trained on ImageNet's normalisation and a
    bilinear resize to 440 (256) before the crop (the authors' models.py).
    """
    state = below(read_weights(weights_in(path)), WRAPPER)
    if "pos_embed" not in state or "patch_embed.proj.weight" not in state:
        raise WeightsError(
            f"the weights do not fit Community Forensics ({path}): missing {WRAPPER}pos_embed or "
            f"{WRAPPER}patch_embed.proj.weight"
        )
    patch = state["patch_embed.proj.weight"].shape[-1]
    size = round((state["pos_embed"].shape[1] - 1) ** 0.5) * patch
    name = f"vit_small_patch{patch}_{size}"
    net, _ = _filled(name, state)
    resize = {384: 440, 224: 256}.get(size, size)
    prepared = given.view_over(str(path), Preprocessing(size, resize, *IMAGENET, resample="bilinear"))
    view = prepared.view()
    net = Classifier(net, view, prepared, 1).eval()
    return Imported("community-forensics", net, view, name, _facts(prepared, 1))


def _filled(name: str, state: State) -> tuple[nn.Module, int]:
    """The network of this name with as many outputs as the weights have."""
    if not timm.is_model(name):
        raise WeightsError(f"timm {timm.__version__} knows no network {name!r}")
    described: Any = timm.models.get_pretrained_cfg(name)
    head = described.classifier if described is not None else None
    layers = (head,) if isinstance(head, str) else tuple(head or ())
    weight = next((state[f"{layer}.weight"] for layer in layers if f"{layer}.weight" in state), None)
    if weight is None:
        raise WeightsError(
            f"the weights do not fit {name}: missing {' or '.join(f'{layer}.weight' for layer in layers)}, "
            "its classifier"
        )
    net = timm.create_model(name, pretrained=False, num_classes=weight.shape[0])
    fill(net, state, {own: Origin(own) for own in net.state_dict()}, what=name)
    return net.eval().requires_grad_(False), int(weight.shape[0])


def _facts(prepared: Preprocessing, synthetic: int) -> dict[str, Any]:
    return {"mean": prepared.mean, "std": prepared.std, "synthetic_index": synthetic}


def _known(config: dict[str, Any]) -> dict[str, Any]:
    """The entries that say how pictures are prepared."""
    wanted = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    return {name: config[name] for name in wanted if name in config}
