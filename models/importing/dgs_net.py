"""The published DGS-Net file (HorizonTEL/DGS-Net, `model_epoch_step2.pth`) as one dense branch.

It is the whole training model: `clip_model.*` (CLIP with LoRA on q, k, v), `clip_model_frozen.*` (the
teacher: an untouched CLIP and its head), `img_fc` (the detector's head) and `text_fc` (training only).

The trap: its LoRA library adds scale * B A into the stored weight when a model is switched to eval mode,
and takes it out again in train mode. A file saved after eval() holds the change in the weight *and* in A and
B, and whoever loads it and calls eval() gets it twice. The teacher beside it has the weight of before, so
how often the change is in the stored weight can be measured, and the right weight is known exactly.
"""

import math
import re
from dataclasses import dataclass

from torch import Tensor

from models.towers.clip import depth_of, openai
from models.towers.weights import Origin, State, WeightsError, check_names, some, take

ADAPTED, TEACHER, HEAD = "clip_model.visual.", "clip_model_frozen.clip_model_frozen.visual.", "img_fc."
TRAINING_ONLY = re.compile(
    r"text_fc\.(weight|bias)|clip_model_frozen\.img_frozen_fc\.(weight|bias)"
    r"|(clip_model_frozen\.)?(clip_model|clip_model_frozen)\."
    r"(transformer\..*|token_embedding\.weight|positional_embedding|ln_final\.(weight|bias)"
    r"|text_projection|logit_scale)"
)
LORA = re.compile(re.escape(ADAPTED) + r"transformer\.resblocks\.(\d+)\.attn\.([qkv])_proj\.w_lora_([AB])")
ATTENTION = re.compile(r"blocks\.(\d+)\.attention\.(q|k|v|out)\.(weight|bias)")
ALPHA = 6.0  # of the authors' options; the LoRA library scales by alpha / sqrt(rank)
CLOSE = 0.02  # a share of the change: rounding is far below, anything real far above
NOTHING = 1e-7  # of a weight's norm: a change below this is none


@dataclass(frozen=True, slots=True)
class DgsNetFile:
    """What is needed of the file, in the names of VitTower."""

    tower: State  # of the detector, LoRA folded in
    head_weight: Tensor  # [1, J]
    head_bias: Tensor  # [1]
    merged: bool  # whether the stored weights held the change already


def is_dgs_net(state: State) -> bool:
    """Whether the names look like the published file's."""
    return f"{HEAD}weight" in state and any(name.startswith(ADAPTED) for name in state)


def convert(where: str, state: State, reference: State | None, scale: float | None = None) -> DgsNetFile:
    """Fold LoRA into dense weights, whether or not the file did so already. Raises WeightsError.

    `reference` is the untouched CLIP tower in the names of VitTower, for files from which the teacher was
    dropped; `scale` overrides alpha / sqrt(rank).
    """
    _check(where, state)
    original = _teacher(where, state) or reference
    if original is None:
        raise WeightsError(
            f"{where} holds no teacher ({TEACHER}*), so whether LoRA is in its weights already cannot be "
            "told: pass the CLIP file that it was trained from with --clip-weights"
        )
    dense, changes = _dense(where, state), _changes(where, state, scale)
    counts = _merged_counts(where, dense, original, changes)
    merged = _agreed(where, counts)
    # The weight of before plus the change, not the stored one: sums in float32 left rounding behind there.
    dense |= {name: (original[name].double() + change).float() for name, change in changes.items()}
    return DgsNetFile(dense, state[f"{HEAD}weight"].float(), state[f"{HEAD}bias"].float(), merged)


def _check(where: str, state: State) -> None:
    known = {
        name for name in state if name.startswith((ADAPTED, TEACHER, HEAD)) or TRAINING_ONLY.fullmatch(name)
    }
    heads = {f"{HEAD}weight", f"{HEAD}bias"}
    check_names(f"a DGS-Net stage-2 file ({where})", state, known | heads)
    if not any("w_lora_A" in name for name in state):
        raise WeightsError(
            f"{where} has no w_lora_A: it looks like stage 1, the teacher; import the stage-2 file"
        )


def _teacher(where: str, state: State) -> State | None:
    """The untouched tower that the file carries, in the names of VitTower; None where it was dropped."""
    teacher = {name: tensor for name, tensor in state.items() if name.startswith(TEACHER)}
    if not teacher:
        return None
    return take(teacher, openai(depth_of(teacher, TEACHER), TEACHER), what=f"the teacher in {where}")


def _dense(where: str, state: State) -> State:
    """The stored weights of the detector, in the names of VitTower.

    The LoRA library keeps q, k, v and the output projection apart, each a layer.
    """
    plain = {
        name: tensor for name, tensor in state.items() if name.startswith(ADAPTED) and "w_lora_" not in name
    }
    origins = openai(depth_of(plain, ADAPTED), ADAPTED)
    for own in origins:
        if found := ATTENTION.fullmatch(own):
            layer = f"{found[2]}_proj" if found[2] in "qkv" else "proj"
            origins[own] = Origin(f"{ADAPTED}transformer.resblocks.{found[1]}.attn.{layer}.{found[3]}")
    return take(plain, origins, what=f"the image tower in {where}")


def _changes(where: str, state: State, scale: float | None) -> dict[str, Tensor]:
    """scale * B A of each adapted matrix, in float64, by the matrix's name in VitTower."""
    low: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if found := LORA.fullmatch(name):
            low.setdefault(f"blocks.{found[1]}.attention.{found[2]}.weight", {})[found[3]] = tensor.double()
    halves = [name for name, pair in low.items() if len(pair) != 2]
    if halves:
        raise WeightsError(f"{where} holds only one of w_lora_A and w_lora_B for {some(halves)}")
    return {
        name: (ALPHA / math.sqrt(pair["A"].shape[0]) if scale is None else scale) * (pair["B"] @ pair["A"])
        for name, pair in low.items()
    }


def _merged_counts(where: str, dense: State, original: State, changes: dict[str, Tensor]) -> dict[str, float]:
    """How many times each stored weight holds its change: <W - W0, D> / <D, D>. Raises WeightsError."""
    check_names(f"the CLIP that {where} was trained from", set(changes) & set(original), changes)
    counts = {}
    for name, change in changes.items():
        moved = dense[name].double() - original[name].double()
        size = float(change.norm())
        if size <= NOTHING * float(original[name].norm()):
            continue  # never trained: once and twice nothing are the same
        count = float((moved * change).sum()) / size**2
        left = float((moved - count * change).norm()) / size
        if left > CLOSE:
            raise WeightsError(
                f"{where}: the stored {name} differs from the untouched CLIP weight by more than its LoRA "
                f"change ({left:.2f} times the change is left over): this is not the CLIP that it was "
                "trained from"
            )
        counts[name] = count
    return counts


def _agreed(where: str, counts: dict[str, float]) -> bool:
    """Whether LoRA was merged; the same for all matrices. Raises WeightsError."""
    if not counts:
        return False
    low, high = min(counts.values()), max(counts.values())
    if low >= -CLOSE and high <= CLOSE:
        return False
    if low >= 1 - CLOSE and high <= 1 + CLOSE:
        return True
    raise WeightsError(
        f"{where}: its stored weights hold the LoRA change {low:.2f} to {high:.2f} times, where 0 (saved in "
        "training) or 1 (saved after eval) was expected: a file that was merged twice, or another scale than "
        "alpha / sqrt(rank); take a per-epoch checkpoint, or state the scale with --lora-scale"
    )
