"""Adapters of both kinds, folded and exported: the graph gives torch's logits on timm's towers.

Cut to two blocks of random weights. The other towers: clip in tests/e2e/test_clip_training.py, lite0 in
test_bundled.py, tiny wherever its bundle is made: a graph that is off by more than 1e-4 is no bundle.
"""

from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from models.adapters import LoRA, Subspaces, adapt, fold
from models.ensemble import Branch, Ensemble, residual
from models.spec import ViewSpec
from models.towers.timm_tower import TimmTower
from trt_build.export import export_onnx
from trt_build.verify import TOLERANCE, run_onnx

MODELS = ("vit_tiny_patch16_224", "vit_small_patch16_dinov3")  # learned and rotary positions


def _timm(name: str) -> TimmTower:
    torch.manual_seed(0)
    model = timm.create_model(
        name, pretrained=False, num_classes=0, dynamic_img_size=False, img_size=64, depth=2
    )
    for parameter, value in model.named_parameters():
        if "gamma" in parameter:  # layer scales start near zero and would hide the blocks
            nn.init.ones_(value)
    return TimmTower(f"timm:{name}", model.eval())


def _moved(branch: Branch) -> Branch:
    """As if it had been trained: adapters and heads away from where they start, then folded."""
    for parameter in branch.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    plain = fold(branch)
    assert isinstance(plain, Branch)
    return plain


@pytest.mark.parametrize("model", MODELS)
def test_the_graph_of_folded_detectors_gives_torchs_logits(model: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    tower, view = _timm(model), ViewSpec(name="global", kind="global", size=64)
    traces = ViewSpec(name="residual", kind="global", size=64, residual=True)
    last = len(tower.blocks) - 1
    branches = [Branch("lora", tower, last, "joint"), Branch("subspaces", tower, last, "pooled")]
    adapt(branches[0].blocks, tower, LoRA, tower.attending)
    adapt(branches[1].blocks, tower, Subspaces)
    branches = [*map(_moved, branches), *(Branch("probe", tower, last, "blocks", (0,)) for _ in range(2))]
    reads = [*[view.name] * 3, traces.name]
    ensemble = Ensemble(tower, branches, [view, traces], reads).eval().requires_grad_(False)
    export_onnx(ensemble, tmp_path / "graph.onnx")
    pictures = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = ensemble({"global": pictures, "residual": pictures})
    assert expected.std(dim=1).min() > 1e-3  # detectors that differ
    views = {"global": pictures.numpy(), "residual": pictures.numpy()}
    logits = torch.from_numpy(run_onnx(tmp_path / "graph.onnx", views))
    assert (logits - expected).abs().max() <= TOLERANCE


def test_a_residual_is_what_a_mean_of_nine_leaves() -> None:
    pixels = torch.full((1, 3, 8, 8), 77.0)
    assert torch.equal(residual(pixels), torch.full_like(pixels, 128.0))  # the border too
    pixels[0, 1, 4, 4] += 9.0
    found = residual(pixels)
    assert found[0, 1, 4, 4].item() == pytest.approx(128 + 8 * 8.0)  # 9, less the mean of 1
    assert found[0, 1, 3, 5].item() == pytest.approx(128 - 8.0)
    assert torch.equal(found[0, 0], torch.full((8, 8), 128.0))
    assert residual(1000 * pixels).min() >= 0


@pytest.mark.parametrize("shape", [(2, 3, 32, 48), (1, 3, 2, 5)])
def test_a_residual_is_the_papers_to_the_border(shape: tuple[int, ...]) -> None:
    """Less the mean of those of the nine neighbours that there are."""
    pixels = torch.randint(0, 256, shape).float()
    smooth = functional.avg_pool2d(pixels, 3, stride=1, padding=1, count_include_pad=False)
    expected = (128 + 8 * (pixels - smooth)).clamp(0, 255)
    assert torch.allclose(residual(pixels), expected, atol=1e-3)


def test_half_precision_does_not_round_the_mean_away() -> None:
    """Of a bright picture a mean in bfloat16 is off by half a grey level, which the gain makes 4."""
    pixels = 200 + torch.randint(0, 2, (1, 3, 32, 32)).float()
    off = (residual(pixels.bfloat16()).float() - residual(pixels)).abs()
    assert off[..., 1:-1, 1:-1].max() < 0.6
    assert off.max() < 2.5  # the lines beyond the border are means themselves
