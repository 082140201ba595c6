"""Adapters: changes of a weight matrix that fold exactly into a dense one.

An adapter wraps one `nn.Linear` or 1x1 `nn.Conv2d` (both are matrices out x in), so the same code
adapts the attention projections of a transformer and the 1x1 convolutions of a convolutional tower.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.towers.base import Tower

Matrix = nn.Linear | nn.Conv2d


class Adapter(nn.Module, ABC):
    """A frozen layer whose matrix is changed. Subclasses say what the changed matrix is."""

    def __init__(self, layer: Matrix) -> None:
        super().__init__()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
            raise ValueError(f"only 1x1 convolutions are matrices, not {layer.kernel_size}")
        self.layer = layer.requires_grad_(False)

    @property
    def original(self) -> Tensor:
        """The pretrained matrix [out, in]."""
        return self.layer.weight.detach().flatten(1)

    @abstractmethod
    def matrix(self) -> Tensor:
        """The matrix [out, in] that is in force."""

    def folded(self) -> Matrix:
        """A plain layer that computes the same."""
        plain = copy.deepcopy(self.layer)
        plain.weight.data.copy_(self.matrix().detach().reshape(plain.weight.shape))
        return plain

    def forward(self, x: Tensor) -> Tensor:
        """As the layer's own forward, with the changed matrix."""
        return _apply(x, self.matrix(), self.layer)


class LoRA(Adapter):
    """W + alpha / sqrt(r) * B A; A Kaiming-uniform, B zeros; dropout on the low-rank path only.

    The scale is that of the CLIP-LoRA library, which DGS-Net uses: alpha / sqrt(r), not alpha / r.
    """

    def __init__(self, layer: Matrix, rank: int = 6, alpha: float = 6.0, dropout: float = 0.8) -> None:
        super().__init__(layer)
        out, into = self.original.shape
        self.scale, self.dropout = alpha / math.sqrt(rank), dropout
        self.a = nn.Parameter(torch.empty(rank, into))
        self.b = nn.Parameter(torch.zeros(out, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def matrix(self) -> Tensor:
        """W + scale * B A."""
        return self.original + self.scale * (self.b @ self.a)

    def forward(self, x: Tensor) -> Tensor:
        """In training the low-rank path sees dropped-out inputs; else one dense product."""
        if not self.training:
            return super().forward(x)
        base: Tensor = self.layer(x)
        low = _apply(F.dropout(x, self.dropout), self.a, self.layer, bias=False)  # r channels
        return base + self.scale * _apply(low, self.b, self.layer, bias=False)


class Subspaces(Adapter):
    """W = W_sem + sum_k U_k diag(s_k) V_k: MASM's split of the pretrained matrix by SVD.

    The top r = n - K m singular directions are semantic and frozen; the K m lowest are K learnable
    artifact subspaces of rank m. W_sem is what remains when they are subtracted, so the sum is W.
    While not `selected`, the layer computes with the pretrained weight itself, bit for bit.
    """

    semantic: Tensor  # W_sem [out, in]
    u_sem: Tensor  # [out, r]
    v_sem: Tensor  # [r, in]
    chosen: Tensor  # bool: a buffer, so that a checkpoint keeps it

    def __init__(self, layer: Matrix, count: int = 4, rank: int = 2) -> None:
        super().__init__(layer)
        u, s, v = torch.linalg.svd(self.original.double(), full_matrices=False)  # [out, n], [n], [n, in]
        kept = len(s) - count * rank
        if kept < 1:
            raise ValueError(f"{count} subspaces of rank {rank} leave nothing of {len(s)} directions")
        self.u = nn.Parameter(
            u[:, kept:].float().T.reshape(count, rank, -1).transpose(1, 2).clone()
        )  # [K, out, m]
        self.s = nn.Parameter(s[kept:].float().reshape(count, rank))  # [K, m]
        self.v = nn.Parameter(v[kept:].float().reshape(count, rank, -1))  # [K, m, in]
        self.register_buffer("semantic", (self.original.double() - self.artifact().detach().double()).float())
        self.register_buffer("u_sem", u[:, :kept].float(), persistent=False)
        self.register_buffer("v_sem", v[:kept].float(), persistent=False)
        self.register_buffer("chosen", torch.tensor(True))

    @property
    def selected(self) -> bool:
        """Whether the subspaces are in force."""
        return bool(self.chosen)

    def artifact(self) -> Tensor:
        """sum_k U_k diag(s_k) V_k, [out, in]."""
        return torch.einsum("kom,km,kmi->oi", self.u, self.s, self.v)

    def matrix(self) -> Tensor:
        """W_sem + artifact subspaces; the pretrained matrix where the layer is not selected."""
        return self.semantic + self.artifact() if self.selected else self.original

    def reset(self) -> None:
        """Leave the layer out: from here on it computes with the pretrained weight."""
        self.chosen.fill_(False)
        for parameter in (self.u, self.s, self.v):
            parameter.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """With the changed matrix, or as pretrained."""
        return super().forward(x) if self.selected else self.layer(x)

    def folded(self) -> Matrix:
        """A plain layer; the untouched one where this layer is not selected."""
        return super().folded() if self.selected else copy.deepcopy(self.layer)


def adapt(
    blocks: nn.ModuleList,
    tower: Tower,
    make: Callable[[Matrix], Adapter],
    names: Callable[[nn.Module], Iterator[str]] | None = None,
) -> list[Adapter]:
    """Freeze `blocks` and wrap the matrices that `names` gives, by default all adaptable ones.

    Returns the adapters.
    """
    blocks.requires_grad_(False)
    made = []
    for block in blocks:
        for name in list((names or tower.adaptable)(block)):
            owner, _, leaf = name.rpartition(".")
            parent = block.get_submodule(owner)
            layer = getattr(parent, leaf)
            adapter = make(layer)
            setattr(parent, leaf, adapter)
            made.append(adapter)
    return made


def fold(module: nn.Module) -> nn.Module:
    """A copy of `module` in which every adapter has become a plain dense layer. Exact in fp32."""
    plain = copy.deepcopy(module)
    for parent in list(plain.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Adapter):
                setattr(parent, name, child.folded())
    return plain


def adapters_in(module: nn.Module) -> Iterator[Adapter]:
    """Every adapter below `module`."""
    return (child for child in module.modules() if isinstance(child, Adapter))


def _apply(x: Tensor, matrix: Tensor, layer: Matrix, *, bias: bool = True) -> Tensor:
    """x times a matrix, the way `layer` would: over channels of a map, or over the last axis of tokens."""
    offset = layer.bias if bias else None
    if isinstance(layer, nn.Conv2d):
        return F.conv2d(x, matrix[:, :, None, None], offset)
    return F.linear(x, matrix, offset)
