"""Weight files that users bring, and how they go into a tower: strictly by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

NESTED = ("state_dict", "model", "model_state_dict")  # where training scripts keep the weights
SHOWN = 5  # names in a message


class WeightsError(Exception):
    """A weights file that cannot be used; the message says what is wrong with it and what would fit."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a .safetensors, .pt, .pth or .bin file; no code of the file is run.

    Raises WeightsError.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise WeightsError(
            f"{path} holds more than tensors, or is damaged; save its state dict as .safetensors. "
            "An archive of OpenAI is opened by torch.jit.load(path).state_dict()"
        ) from error
    return _tensors(stored, path)


def _tensors(stored: object, path: Path) -> dict[str, Tensor]:
    """The state dict of what torch.load gave, without a wrapper's prefix."""
    while isinstance(stored, dict):
        inner = next((stored[name] for name in NESTED if isinstance(stored.get(name), dict)), None)
        if inner is None:
            break
        stored = inner
    if not isinstance(stored, dict) or not stored:
        raise WeightsError(f"{path} holds no state dict")
    found = {str(name).removeprefix("module."): value for name, value in stored.items()}
    odd = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if odd:
        raise WeightsError(f"{path} holds no state dict: {_some(odd)} are no tensors")
    return found


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor of a tower is found in a file."""

    name: str
    part: tuple[int, int] | None = None  # the i-th of n equal slices of the first axis
    transposed: bool = False

    def take(self, state: Mapping[str, Tensor]) -> Tensor:
        """The tensor, in float32."""
        value = state[self.name].float()
        if self.part:
            value = value.chunk(self.part[1])[self.part[0]]
        return value.T if self.transposed else value


def fill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    origins: Mapping[str, Origin],
    *,
    what: str,
    ignored: Iterable[str] = (),
) -> None:
    """Copy every tensor of `module` that `origins` names out of `state`, shapes equal but for axes of 1.

    Raises WeightsError with the missing and the unexpected names, as the file writes them. `ignored` are
    beginnings of names that belong to other parts of the model.
    """
    used = {origin.name for origin in origins.values()}
    rest = tuple(ignored)
    missing = sorted(used - set(state))
    unexpected = sorted(name for name in state if name not in used and not name.startswith(rest))
    if missing or unexpected:
        raise WeightsError(mismatch(what, missing, unexpected))
    own = module.state_dict()
    with torch.no_grad():
        for name, origin in origins.items():
            value, place = origin.take(state), own[name]
            if value.squeeze().shape != place.squeeze().shape:
                shapes = f"{tuple(value.shape)}, not {tuple(place.shape)}"
                raise WeightsError(f"the weights do not fit {what}: {origin.name} has the shape {shapes}")
            place.copy_(value.reshape(place.shape))


def mismatch(what: str, missing: list[str], unexpected: list[str]) -> str:
    """One sentence on names that do not agree."""
    return f"the weights do not fit {what}: missing {_some(missing)}; unexpected {_some(unexpected)}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) + more) or "nothing"
