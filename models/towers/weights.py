"""Weight files that users bring, and how they go into a network: strictly by name.

A `.pt` file is a pickle, and a pickle may run anything: it is read with torch's `weights_only`, which
builds tensors and plain containers and refuses the rest.
"""

import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

State = dict[str, Tensor]

NESTED = ("state_dict", "model", "model_state_dict", "net")  # where training scripts keep the weights
PARALLEL = "module."  # torch's DataParallel puts it before every name
SHOWN = 5  # names in a message


class WeightsError(Exception):
    """A weights file that cannot be used; the message says what is wrong with it and what would fit."""


def read_weights(path: Path) -> State:
    """Name -> tensor of a .safetensors, .pt, .pth or .bin file; no code of the file is run.

    Raises WeightsError.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    except (RuntimeError, ValueError, pickle.UnpicklingError, EOFError) as error:
        raise WeightsError(_unsafe(path, str(error))) from error
    return _tensors(path, stored)


def _unsafe(path: Path, message: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", message)
    named = f" ({found[1]}, which would run code from the file)" if found else ""
    return (
        f"{path} holds more than tensors{named}, or is damaged: where you trust it, load it with its own "
        "code and save its state dict as .safetensors. An archive of OpenAI is opened by "
        "torch.jit.load(path).state_dict()"
    )


def _tensors(path: Path, stored: object) -> State:
    """The state dict of what torch.load gave, without wrappers and without `module.`."""
    while isinstance(stored, Mapping):
        inner = next((stored[name] for name in NESTED if isinstance(stored.get(name), Mapping)), None)
        if inner is None:
            break
        stored = inner
    if not isinstance(stored, Mapping) or not stored:
        raise WeightsError(f"{path} holds a {type(stored).__name__}, not tensors by name (a state dict)")
    odd = [name for name, value in stored.items() if not isinstance(value, Tensor)]
    if odd:
        raise WeightsError(f"{path} holds no plain state dict: {some(odd)} are no tensors")
    found = {str(name): value for name, value in stored.items()}
    return below(found, PARALLEL) if all(name.startswith(PARALLEL) for name in found) else found


def below(state: Mapping[str, Tensor], prefix: str) -> State:
    """The weights whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor of a network is found in a file."""

    name: str
    part: tuple[int, int] | None = None  # the i-th of n equal slices of the first axis
    transposed: bool = False

    def take(self, state: Mapping[str, Tensor]) -> Tensor:
        """The tensor, in float32."""
        value = state[self.name].float()
        if self.part:
            value = value.chunk(self.part[1])[self.part[0]]
        return value.T if self.transposed else value


def take(
    state: Mapping[str, Tensor], origins: Mapping[str, Origin], *, what: str, ignored: Iterable[str] = ()
) -> State:
    """The tensors that `origins` finds in `state`, under their own names.

    Raises WeightsError with the missing and the unexpected names, as the file writes them. `ignored` are
    beginnings of names that belong to other parts of the model.
    """
    used, rest = {origin.name for origin in origins.values()}, tuple(ignored)
    check_names(what, [name for name in state if name in used or not name.startswith(rest)], used)
    return {name: origin.take(state) for name, origin in origins.items()}


def fill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    origins: Mapping[str, Origin],
    *,
    what: str,
    ignored: Iterable[str] = (),
) -> None:
    """Copy every tensor of `module` that `origins` names out of `state`, shapes equal but for axes of 1.

    Raises WeightsError, as `take` does and where a shape is another.
    """
    values, own = take(state, origins, what=what, ignored=ignored), module.state_dict()
    with torch.no_grad():
        for name, value in values.items():
            place = own[name]
            if value.squeeze().shape != place.squeeze().shape:
                shapes = f"{tuple(value.shape)}, not {tuple(place.shape)}"
                raise WeightsError(
                    f"the weights do not fit {what}: {origins[name].name} has the shape {shapes}"
                )
            place.copy_(value.reshape(place.shape))


def check_names(what: str, given: Iterable[str], wanted: Iterable[str]) -> None:
    """Raises WeightsError where `given` are not the names that are wanted."""
    given, wanted = set(given), set(wanted)
    if given != wanted:
        raise WeightsError(mismatch(what, sorted(wanted - given), sorted(given - wanted)))


def mismatch(what: str, missing: list[str], unexpected: list[str]) -> str:
    """One sentence on names that do not agree."""
    return f"the weights do not fit {what}: missing {some(missing)}; unexpected {some(unexpected)}"


def some(names: Iterable[object]) -> str:
    """The first few of these names, and how many more there are."""
    listed = sorted(str(name) for name in names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return (", ".join(listed[:SHOWN]) + more) or "nothing"
