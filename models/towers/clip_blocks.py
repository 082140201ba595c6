"""What both of CLIP's towers, of pictures and of texts, call the layers of a transformer block in a file."""

from collections.abc import Sequence

from models.towers.weights import Origin

# q, k, v, the projection behind them, both norms, both layers of the MLP.
HUGGING_FACE = (
    *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")),
    *("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"),
)
_OPENAI = ("attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")  # q, k and v lie in one matrix


def both(own: str, theirs: str) -> dict[str, Origin]:
    """Weight and bias of one layer."""
    return {f"{own}.{leaf}": Origin(f"{theirs}.{leaf}") for leaf in ("weight", "bias")}


def hugging_face_block(own: str, theirs: str, layers: Sequence[str]) -> dict[str, Origin]:
    """`layers`: what the block `own` calls those of `HUGGING_FACE`, in that order."""
    found: dict[str, Origin] = {}
    for layer, name in zip(layers, HUGGING_FACE, strict=True):
        found |= both(f"{own}.{layer}", f"{theirs}.{name}")
    return found


def openai_block(own: str, theirs: str, layers: Sequence[str]) -> dict[str, Origin]:
    """`layers`: what the block `own` calls those of `HUGGING_FACE`, in that order."""
    found = {
        f"{own}.{layer}.{leaf}": Origin(f"{theirs}.attn.in_proj_{leaf}", (part, 3))
        for part, layer in enumerate(layers[:3])
        for leaf in ("weight", "bias")
    }
    for layer, name in zip(layers[3:], _OPENAI, strict=True):
        found |= both(f"{own}.{layer}", f"{theirs}.{name}")
    return found
