"""The tower of statistics: what its numbers say, and that engines compute the same."""

from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from torch import Tensor

from models.choice import Choice, check, chosen
from models.ensemble import Ensemble
from models.heads import keep_heads_in_float
from models.probe import Probe
from models.recipe import RecipeError, read_recipe
from models.scoring import computes_bf16
from models.spec import ViewSpec
from models.towers.registry import pretrained_tower
from models.towers.statistics import COLOURS, DIM, FILTERS, LOCAL, RESPONSES, TAILS, StatisticsTower
from trt_build.export import export_onnx
from trt_build.verify import TOLERANCE, run_onnx

VIEW = ViewSpec(name="picture", kind="global", size=64)


def statistics(pixels: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = StatisticsTower()(pixels)
    return found


def noise(kind: str, spread: float = 6.0) -> Tensor:
    """Grey pictures with noise [2, 3, 256, 256] that is the same in all colours."""
    torch.manual_seed(0)
    shape = (2, 1, 256, 256)
    drawn = torch.randn(shape)
    if kind == "laplace":
        drawn = torch.distributions.Laplace(0.0, 0.5**0.5).sample(shape)
    return (128 + spread * drawn).round().expand(-1, 3, -1, -1)


def part(name: str, found: Tensor) -> Tensor:
    """One kind of number, by name, of statistics [B, DIM]."""
    watched = 3 * len(LOCAL)
    sizes = {
        "shape": RESPONSES,
        "peak": RESPONSES,
        "tails": RESPONSES * len(TAILS),
        **dict.fromkeys(("mean", "spread", "skew", "low", "least", "most"), watched),
        "tie": len(LOCAL),
        **dict.fromkeys(("red_green", "blue_green", "red", "blue", "bright"), len(COLOURS)),
    }
    assert sum(sizes.values()) == DIM == found.shape[1]
    before = sum(list(sizes.values())[: list(sizes).index(name)])
    return found[:, before : before + sizes[name]]


def test_filters_take_away_what_is_smooth() -> None:
    """Every filter sums to nothing; those that windows are looked at of see no slope either."""
    assert all(np.array(rows).sum() == 0 for rows, _ in FILTERS.values())
    slope = torch.arange(64.0).expand(1, 3, 64, 64)
    energy = part("mean", statistics(slope))
    assert torch.allclose(energy, torch.full_like(energy, float(np.log(0.02))), atol=1e-4)


def test_the_shape_of_noise_is_the_textbooks() -> None:
    """E|x|^2 / E x^2 is 2 / pi of normal noise; its kurtosis is 3, and that of Laplace's noise larger."""
    across = list(FILTERS).index("across")  # the difference of two neighbours: normal again
    shape, peak = (part(name, statistics(noise("normal")))[:, across] for name in ("shape", "peak"))
    assert shape.exp().tolist() == pytest.approx([2 / np.pi] * 2, rel=0.02)
    assert peak.exp().tolist() == pytest.approx([3.0] * 2, rel=0.05)
    heavy = part("peak", statistics(noise("laplace")))[:, across]
    assert heavy.exp().tolist() == pytest.approx([4.5] * 2, rel=0.05)  # (6 + 3) / 2 of a difference


def test_numbers_of_shape_do_not_hang_on_how_strong_the_noise_is() -> None:
    weak, strong = statistics(noise("normal", 6.0)), statistics(noise("normal", 18.0))
    for name in ("shape", "peak", "tails", "spread", "red_green"):
        luma = slice(0, len(COLOURS)) if name == "red_green" else slice(0, len(LOCAL))
        assert torch.allclose(part(name, weak)[:, luma], part(name, strong)[:, luma], atol=0.05), name
    more = part("mean", strong)[:, : len(LOCAL)] - part("mean", weak)[:, : len(LOCAL)]
    assert more.mean().item() == pytest.approx(2 * np.log(3), abs=0.05)


def test_colours_that_share_their_noise_are_told_from_those_that_do_not() -> None:
    torch.manual_seed(1)
    apart = (128 + 6 * torch.randn(1, 3, 256, 256)).round()
    for name in ("red_green", "blue_green"):
        assert part(name, statistics(noise("normal"))).min() > 0.99
        assert part(name, statistics(apart)).abs().max() < 0.05
    fewer = apart.clone()
    fewer[:, 0] = 128 + (fewer[:, 0] - 128) / 2  # half the noise in red
    assert part("red", statistics(fewer)).mean().item() == pytest.approx(np.log(1 / 4), abs=0.05)


def test_windows_see_where_a_picture_is_quiet_and_whether_noise_follows_the_light() -> None:
    half = noise("normal").clone()
    half[..., :128] = 40  # the dark half has none
    found, even = statistics(half), statistics(noise("normal"))
    assert part("low", found).mean() < part("low", even).mean() - 2
    assert part("least", found)[0, 0].item() == pytest.approx(np.log(0.02), abs=1e-4)
    assert part("tie", found).min() > 0.8
    assert part("tie", even).abs().max() < 0.2


def test_nothing_is_infinite_for_flat_and_for_wild_pictures() -> None:
    torch.manual_seed(2)
    flat, wild = torch.full((1, 3, 64, 64), 255.0), 255.0 * torch.randint(0, 2, (1, 3, 64, 64))
    assert statistics(torch.cat([flat, wild])).isfinite().all()


def test_engines_compute_the_same(tmp_path: Path) -> None:
    """OpenVINO 2026.4 lost a division in a graph like this: see `_alike`."""
    torch.manual_seed(0)
    tower = StatisticsTower()
    probe = Probe(tower, 0, bound=3.0, limit=2.0)
    torch.nn.init.normal_(probe.branch.head.weight, std=0.2)
    assert probe.branch.bounds is not None
    probe.branch.bounds.high.fill_(3.0)
    ensemble = Ensemble(tower, [probe.branch], [VIEW], [VIEW.name]).eval().requires_grad_(False)
    file = tmp_path / "graph.onnx"
    export_onnx(ensemble, file)
    pictures = torch.randint(60, 160, (3, 64, 64, 3), dtype=torch.uint8)
    expected = ensemble({VIEW.name: pictures}).numpy()
    views = {VIEW.name: pictures.numpy()}
    assert np.abs(run_onnx(file, views) - expected).max() <= TOLERANCE
    for precision, within in {"f32": TOLERANCE, "bf16": 0.01}.items():
        if precision == "bf16" and not computes_bf16():
            continue
        model = openvino.Core().read_model(file)
        assert keep_heads_in_float(model) == 1
        served = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
        assert np.abs(served(views)[0] - expected).max() <= within, precision


def test_products_are_exact_in_half_precision() -> None:
    tower = StatisticsTower()
    weights = torch.cat([tower.planes, tower.colours])
    for half in (torch.bfloat16, torch.float16):
        assert torch.equal(weights.to(half).float(), weights)
    assert 255 * weights.abs().sum(dim=(1, 2, 3)).max() < torch.finfo(torch.float16).max


def test_only_a_probe_can_be_trained_on_it() -> None:
    recipe = chosen(Choice(tower="statistics"))
    assert recipe.name == "statistics"
    check(recipe, pretrained_tower("statistics"))
    adapted = chosen(Choice(recipe="default", tower="statistics", adapt_from=0))
    with pytest.raises(RecipeError, match="no blocks to adapt"):
        check(adapted, pretrained_tower("statistics"))
    assert {one.name for one in read_recipe("statistics").detectors} == {"probe"}
