"""CLIP's text tower, from the same file as the image tower. Training alone needs it: texts become constants.

The network is Hugging Face's CLIPTextModelWithProjection, the tokenizer is open_clip's, which brings CLIP's
vocabulary in its package: one vocabulary serves every preset.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from models.towers import clip_blocks
from models.towers.weights import Origin, WeightsError, fill

# Joint dimensions -> width of the text tower; heads are 64 wide, layers are 12 (arXiv 2103.00020, table 20).
WIDTHS = {512: 512, 768: 768}
LAYERS, CONTEXT, VOCABULARY, END = 12, 77, 49408, 49407
OPENAI, CUSTOM, HUGGING_FACE = "transformer.", "text.transformer.", "text_model."


class ClipText:
    """Sentences -> rows of the joint space. Not L2-normalised, as the image tower's embedding."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """[N] sentences -> [N, J]."""
        from open_clip.tokenizer import SimpleTokenizer

        tokens = SimpleTokenizer()(list(sentences), context_length=CONTEXT)  # [N, 77]
        with torch.no_grad():
            embedded: Tensor = self.model(input_ids=tokens).text_embeds
        return embedded


def clip_text(state: Mapping[str, Tensor], joint: int) -> ClipText | None:
    """The text tower that a CLIP file holds; None where it holds an image tower alone.

    Raises WeightsError where the file holds another text tower than a preset's.
    """
    names = tuple(state)
    if any(name.startswith(HUGGING_FACE) for name in names):
        origins = _hugging_face(LAYERS)
    elif any(name.startswith(CUSTOM) for name in names):
        origins = _openai(LAYERS, "text.")
    elif any(name.startswith(OPENAI) for name in names):
        origins = _openai(LAYERS, "")
    else:
        return None
    model = empty_clip_text(joint)
    held = {origin.name for origin in origins.values()}
    ours = ("text_model.", "text_projection", "transformer.", "token_embedding", "ln_final", "text.")
    text = {name: value for name, value in state.items() if name in held or name.startswith(ours)}
    fill(model, text, origins, what="CLIP's text tower", ignored=("text_model.embeddings.position_ids",))
    return ClipText(model.eval().requires_grad_(False))


def empty_clip_text(joint: int, layers: int = LAYERS) -> Any:
    """The architecture, random weights. Raises WeightsError for a joint space that no preset has."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    if joint not in WIDTHS:
        raise WeightsError(f"no preset has a joint space of {joint} dimensions")
    width = WIDTHS[joint]
    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=joint,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=CONTEXT,
        hidden_act="quick_gelu",
        bos_token_id=END - 1,
        eos_token_id=END,  # the embedding is read at the first of these
    )
    return CLIPTextModelWithProjection(config)


def _hugging_face(layers: int) -> dict[str, Origin]:
    """The model's own names."""
    return {name: Origin(name) for name in _openai(layers, "")}


def _openai(layers: int, prefix: str) -> dict[str, Origin]:
    found = {
        "text_model.embeddings.token_embedding.weight": Origin(f"{prefix}token_embedding.weight"),
        "text_model.embeddings.position_embedding.weight": Origin(f"{prefix}positional_embedding"),
        "text_projection.weight": Origin(f"{prefix}text_projection", transposed=True),
        **clip_blocks.both("text_model.final_layer_norm", f"{prefix}ln_final"),
    }
    for index in range(layers):
        own = f"text_model.encoder.layers.{index}"
        theirs = f"{prefix}transformer.resblocks.{index}"
        found |= clip_blocks.openai_block(own, theirs, clip_blocks.HUGGING_FACE)
    return found
