"""Adapters: folding is exact, SVD splits reconstruct, layers left out stay bit-identical."""

import copy

import pytest
import torch
from torch import Tensor, nn

from models.adapters import LoRA, Matrix, Subspaces, adapt, adapters_in, fold
from models.towers.base import Tower
from models.towers.lite0 import Lite0Tower
from models.towers.tiny import TinyTower


@pytest.fixture(params=[TinyTower, Lite0Tower])
def tower(request: pytest.FixtureRequest) -> Tower:
    torch.manual_seed(0)
    made: Tower = request.param()
    return made.eval()


def suffix(tower: Tower) -> tuple[nn.ModuleList, Tensor]:
    """The last two blocks and something that they can read."""
    start = len(tower.blocks) - 2
    with torch.no_grad():
        h = tower.prefix(torch.rand(2, 3, 64, 64) * 255, start)
    return nn.ModuleList(copy.deepcopy(block) for block in list(tower.blocks)[start:]), h


def through(blocks: nn.Module, h: Tensor) -> Tensor:
    for block in blocks.children():
        h = block(h)
    return h


def disturb(blocks: nn.Module) -> None:
    for parameter in blocks.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)


@pytest.mark.parametrize("make", [LoRA, Subspaces])
def test_folding_is_exact(tower: Tower, make: type[LoRA] | type[Subspaces]) -> None:
    blocks, h = suffix(tower)
    before = through(blocks, h)
    adapters = adapt(blocks, tower, make)
    disturb(blocks)
    blocks.eval()
    after = through(blocks, h)
    folded = fold(blocks)
    assert adapters
    assert not list(adapters_in(folded))
    assert (after - before).abs().max() > 1e-3  # the adapters do something
    assert torch.allclose(through(folded, h), after, atol=1e-5, rtol=1e-5)


def test_lora_starts_as_the_pretrained_layer_and_scales_by_the_root_of_the_rank() -> None:
    layer = nn.Linear(8, 5)
    lora = LoRA(layer, rank=4, alpha=6.0)
    assert torch.equal(lora.matrix(), layer.weight)
    lora.b.data += 1.0
    assert torch.allclose(lora.matrix() - layer.weight, 3.0 * lora.b @ lora.a, atol=1e-6)  # 6 / sqrt(4)


def test_lora_drops_out_in_training_only() -> None:
    torch.manual_seed(0)
    lora = LoRA(nn.Linear(16, 16))
    lora.b.data += 1.0
    x = torch.randn(4, 16)
    assert not torch.equal(lora.train()(x), lora(x))
    assert torch.equal(lora.eval()(x), lora(x))


@pytest.mark.parametrize("layer", [nn.Linear(40, 24), nn.Conv2d(24, 40, 1)], ids=["linear", "conv"])
def test_subspaces_reconstruct_the_matrix_and_are_orthonormal(layer: Matrix) -> None:
    split = Subspaces(layer, count=3, rank=2)
    assert torch.allclose(split.matrix(), split.original, atol=1e-6)
    u = split.u.transpose(1, 2).reshape(6, -1)
    assert torch.allclose(u @ u.T, torch.eye(6), atol=1e-5)
    assert (u @ split.u_sem).abs().max() < 1e-5
    smallest = torch.linalg.svdvals(split.original)[-6:]
    assert torch.allclose(split.s.flatten(), smallest, atol=1e-5)


def test_a_layer_left_out_is_bit_identical_to_the_pretrained_one() -> None:
    layer = nn.Linear(24, 24)
    pretrained = copy.deepcopy(layer)
    split = Subspaces(layer)
    disturb(split)
    split.reset()
    x = torch.randn(3, 24)
    assert torch.equal(split(x), pretrained(x))
    assert torch.equal(split.folded().weight, pretrained.weight)
    assert not any(parameter.requires_grad for parameter in split.parameters())


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="1x1"):
        LoRA(nn.Conv2d(4, 4, 3))
    with pytest.raises(ValueError, match="leave nothing"):
        Subspaces(nn.Linear(8, 8), count=4, rank=2)
