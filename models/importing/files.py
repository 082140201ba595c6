"""Reading a weights file without running code from it, and checking its names.

A `.pt` file is a pickle, and a pickle may run anything: it is read with torch's `weights_only`, which
builds tensors and plain containers and refuses the rest.
"""

import hashlib
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

State = dict[str, Tensor]

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")  # under which training scripts put the weights
PARALLEL = "module."  # torch's DataParallel puts it before every name
SHOWN = 4


class ImportFault(Exception):
    """The file cannot be imported; the message says what was seen and what to do."""


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """Tensors by name, without wrappers and without `module.`."""

    path: Path
    sha256: str
    state: State


def read_weights(path: Path) -> WeightsFile:
    """Read a safetensors file or a torch checkpoint. Raises ImportFault."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ImportFault(f"{path} cannot be read: {error.strerror}") from error
    state = _safetensors(path) if path.suffix == ".safetensors" else _checkpoint(path)
    if state and all(name.startswith(PARALLEL) for name in state):
        state = {name.removeprefix(PARALLEL): tensor for name, tensor in state.items()}
    return WeightsFile(path, digest, state)


def _safetensors(path: Path) -> State:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ImportFault(f"{path} is no safetensors file: {error}") from error


def _checkpoint(path: Path) -> State:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ImportFault(_unsafe(path, str(error))) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise ImportFault(f"{path} is no torch checkpoint: {error}") from error
    return _tensors(path, loaded)


def _unsafe(path: Path, message: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", message)
    if found is None:
        return f"{path} is no torch checkpoint: {message.splitlines()[0]}"
    return (
        f"{path} holds {found[1]} besides tensors, and building that would run code from the file: where you "
        "trust it, load it with its own code and save model.state_dict(), best as safetensors"
    )


def _tensors(path: Path, loaded: Any) -> State:
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise ImportFault(f"{path} holds a {type(loaded).__name__}, not tensors by name (a state_dict)")
    others = [name for name, value in loaded.items() if not isinstance(value, Tensor)]
    if others:
        raise ImportFault(f"{path} holds more than tensors by name: {some(others)}; save a plain state_dict")
    return {str(name): tensor for name, tensor in loaded.items()}


def some(names: Iterable[object]) -> str:
    """The first few of these names, and how many there are in all."""
    listed = sorted(str(name) for name in names)
    more = f", ... ({len(listed)} in all)" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def check_names(where: str, given: Iterable[str], wanted: Iterable[str]) -> None:
    """Raises ImportFault naming what is missing and what was not expected."""
    given, wanted = set(given), set(wanted)
    faults = []
    if wanted - given:
        faults.append(f"missing {some(wanted - given)}")
    if given - wanted:
        faults.append(f"unexpected {some(given - wanted)}")
    if faults:
        raise ImportFault(f"{where}: {'; '.join(faults)}")


def load_strictly(where: str, module: torch.nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fill every weight of `module` from `state`, by name and shape. Raises ImportFault."""
    wanted = module.state_dict()
    check_names(where, state, wanted)
    wrong = [
        f"{name} is {list(state[name].shape)}, not {list(wanted[name].shape)}"
        for name in wanted
        if state[name].shape != wanted[name].shape
    ]
    if wrong:
        raise ImportFault(f"{where}: wrong shapes: {some(wrong)}")
    module.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in state.items()})
