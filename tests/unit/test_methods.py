"""The three methods: each formula against its definition, on the tiny tower."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.adapters import Subspaces
from models.dgs_net import DgsNet, bce_gradient, beneficial, harmful, surgeon
from models.masm import GradientStatistics, Masm, orthogonality, spectral_change
from models.methods import Batch
from models.pin_clip import NoiseGenerator, PinClip
from models.towers.tiny import TinyTower

START = 1


@pytest.fixture
def tower() -> TinyTower:
    torch.manual_seed(0)
    return TinyTower().requires_grad_(False)


def batch(tower: TinyTower, count: int = 8) -> Batch:
    with torch.no_grad():
        prefix = tower.prefix(torch.rand(count, 3, 64, 64) * 255, START)
    labels = torch.arange(count).remainder(2).float()
    return Batch(prefix, labels, torch.randn(count, tower.joint_dim))


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_noise_needs_no_label_and_starts_near_zero(tower: TinyTower) -> None:
    generator = NoiseGenerator(24, 6)
    f = torch.randn(5, 24)
    mu, s = generator(f, tower.class_text)
    assert mu.shape == s.shape == (5, 24)
    assert max(mu.abs().max(), s.abs().max()) < 1e-2
    assert (s >= 0).all()
    swapped, _ = generator(f, tower.class_text.flip(0))  # which text belongs to which class is not told
    assert torch.allclose(mu, swapped, atol=1e-7)


def test_pin_clip_trains_generator_branch_and_head_and_nothing_else(tower: TinyTower) -> None:
    method = PinClip(tower, START).train()
    losses = method.losses(tower, batch(tower))
    assert torch.isclose(losses["total"], losses["clean"] + losses["noisy"])
    torch.autograd.backward(losses["total"])
    reached = set(gradients(method))
    assert {name for name in reached if name.startswith("generator.")} >= {"generator.mean.weight"}
    assert {name for name, p in method.named_parameters() if p.requires_grad} == reached
    assert not gradients(tower)
    assert 0 < method.monitors()["s_over_f"] < 0.1


def test_surgery_leaves_a_gradient_orthogonal_to_the_harmful_direction() -> None:
    torch.manual_seed(1)
    direction = harmful(torch.randn(6, 24))
    operated = surgeon(direction)(torch.randn(6, 24))
    assert (operated * direction).sum(dim=1).abs().max() < 1e-5
    assert (direction >= 0).all()
    assert torch.allclose(direction.norm(dim=1), torch.ones(6), atol=1e-5)


def test_no_positive_text_gradient_means_no_surgery() -> None:
    gradient = torch.randn(3, 24)
    assert torch.equal(surgeon(harmful(-torch.rand(3, 24)))(gradient), gradient)


def test_feature_gradients_are_per_sample_and_leave_the_head_alone() -> None:
    head, f, y = nn.Linear(24, 1), torch.randn(4, 24), torch.tensor([0.0, 1.0, 0.0, 1.0])
    gradient = bce_gradient(head, f, y)
    expected = (torch.sigmoid(head(f)[:, 0]) - y)[:, None] * head.weight  # dBCE/df
    assert torch.allclose(gradient, expected, atol=1e-6)
    assert torch.equal(beneficial(gradient), torch.minimum(gradient, torch.zeros(())))
    assert head.weight.grad is None


def test_surgery_reaches_the_branch_but_not_the_heads(tower: TinyTower) -> None:
    """As in the authors' code: the hook sits on the features, so head gradients stay as they were."""
    torch.manual_seed(2)
    plain = DgsNet(tower, START, surgery=False).eval()
    operated = copy.deepcopy(plain)
    operated.surgery = True
    seen = batch(tower)
    for method in (plain, operated):
        for name, parameter in method.branch.named_parameters():
            if name.endswith(".b"):
                parameter.data.fill_(0.01)
        torch.autograd.backward(method.losses(tower, seen)["total"])
    before, after = gradients(plain), gradients(operated)
    assert torch.equal(before["branch.head.weight"], after["branch.head.weight"])
    assert torch.equal(before["text_head.weight"], after["text_head.weight"])
    assert any(not torch.allclose(before[name], after[name]) for name in before if name.endswith(".a"))
    assert not any(name.startswith("teacher.") for name in after)


def test_the_alignment_term_does_not_depend_on_the_batch_size(tower: TinyTower) -> None:
    method, seen = DgsNet(tower, START).eval(), batch(tower)
    prefix, labels, captions = (torch.cat([x, x]) for x in (seen.prefix, seen.labels, seen.captions))
    twice = Batch(prefix, labels, captions)
    assert torch.isclose(method.losses(tower, seen)["help"], method.losses(tower, twice)["help"], rtol=1e-4)


def test_orthogonality_counts_each_pair_of_subspaces_once() -> None:
    torch.manual_seed(3)
    layer = Subspaces(nn.Linear(20, 16), count=3, rank=2)
    assert orthogonality(layer) < 1e-9
    for parameter in (layer.u, layer.v):
        parameter.data += 0.1 * torch.randn_like(parameter)
    expected = torch.zeros(())
    for k in range(3):
        u, v = layer.u[k], layer.v[k]  # [out, m], [m, in]
        expected = expected + (u.T @ layer.u_sem).square().sum() + (v @ layer.v_sem.T).square().sum()
        expected = (
            expected + (u.T @ u - torch.eye(2)).square().sum() + (v @ v.T - torch.eye(2)).square().sum()
        )
        for other in range(k + 1, 3):
            expected = (
                expected + (u.T @ layer.u[other]).square().sum() + (v @ layer.v[other].T).square().sum()
            )
    assert torch.isclose(orthogonality(layer), expected / 6, rtol=1e-4)


def test_spectral_change_is_relative_to_the_pretrained_energy() -> None:
    layer = Subspaces(nn.Linear(20, 16))
    assert spectral_change(layer) < 1e-5
    layer.s.data += 0.3
    energy = layer.original.square().sum()
    assert torch.isclose(spectral_change(layer), (layer.matrix().square().sum() - energy) / energy, rtol=1e-4)


def test_gradient_statistics_are_bias_over_variance() -> None:
    layer = Subspaces(nn.Linear(20, 16))
    seen, kept = GradientStatistics(layer), []
    for seed in range(5):
        torch.manual_seed(seed)
        for parameter in (layer.u, layer.s, layer.v):
            parameter.grad = torch.randn_like(parameter) + 0.5
        kept.append(torch.cat([p.grad.flatten() for p in (layer.u, layer.s, layer.v) if p.grad is not None]))
        seen.add(layer)
    stacked = torch.stack(kept)
    bias = stacked.mean(dim=0).square().sum()
    variance = (stacked - stacked.mean(dim=0)).square().sum(dim=1).mean()
    assert seen.score() == pytest.approx(float(bias / variance), rel=1e-4)


def test_masm_keeps_half_of_its_layers_and_resets_the_rest(tower: TinyTower) -> None:
    torch.manual_seed(4)
    method = Masm(tower, START, count=2, rank=2)
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=1e-2)
    for step in range(1, 9):
        optimiser.zero_grad()
        torch.autograd.backward(method.losses(tower, batch(tower))["total"])
        optimiser.step()
        method.after_step(step, steps=8)
        assert method.monitors()["layers"] == (8 if step < 2 else 4)
    for layer in method.layers:
        unchanged = torch.equal(layer.folded().weight.flatten(1), layer.original)
        assert unchanged == (not layer.selected)


def test_masm_loss_is_the_sum_of_its_parts(tower: TinyTower) -> None:
    losses = Masm(tower, START, count=2, rank=2, orth=0.5, spec=2.0).losses(tower, batch(tower))
    assert torch.isclose(losses["total"], losses["ce"] + 0.5 * losses["orth"] + 2.0 * losses["spec"])
    assert F.relu(losses["ce"]) > 0
