"""Towers with weights of other people's layouts: equal to the libraries that wrote them, strictly by name."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from models.adapters import LoRA, Subspaces, adapt, fold
from models.checkpoints import load_ensemble, save_ensemble
from models.ensemble import Branch, Ensemble
from models.spec import ViewSpec
from models.towers.base import Tower, TowerError
from models.towers.clip import load_clip
from models.towers.clip_text import clip_text
from models.towers.registry import empty_tower, pretrained_tower
from models.towers.timm_tower import TimmTower, empty_timm, timm_tower
from models.towers.vit import VitTower
from models.towers.weights import WeightsError, read_weights

SMALL: dict[str, Any] = {"width": 64, "depth": 3, "heads": 2, "patch": 16, "size": 64, "joint": 24}
TIMM_MODELS = ("vit_tiny_patch16_224", "eva02_tiny_patch14_224", "vit_small_patch16_dinov3")


def small_hugging_face() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2}
    sizes |= {"patch_size": 16, "image_size": 64, "projection_dim": 24}
    model: Any = CLIPVisionModelWithProjection(
        CLIPVisionConfig.from_dict({**sizes, "hidden_act": "quick_gelu"})
    )
    return model.eval()


def normalised(tower: Tower, pixels: Tensor) -> Tensor:
    return (pixels - tower.mean) / tower.std


def test_hugging_face_layout_computes_what_transformers_computes(tmp_path: Path) -> None:
    theirs = small_hugging_face()
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    tower = VitTower(**SMALL).eval()
    load_clip(tower, read_weights(tmp_path / "model.safetensors"))
    pixels = torch.rand(2, 3, 64, 64) * 255
    with torch.inference_mode():
        seen = theirs(pixel_values=normalised(tower, pixels))
        assert torch.allclose(tower.joint(tower(pixels)), seen.image_embeds, atol=1e-4)
    assert clip_text(theirs.state_dict(), 512) is None  # an image tower alone


def test_names_that_do_not_agree_are_all_named() -> None:
    state = small_hugging_face().state_dict()
    tower = VitTower(**SMALL)
    short = {name: value for name, value in state.items() if name != "vision_model.post_layernorm.bias"}
    with pytest.raises(WeightsError, match=r"missing vision_model\.post_layernorm\.bias; unexpected alien"):
        load_clip(tower, {**short, "alien": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"visual\.conv1\.weight"):
        load_clip(tower, {"conv1.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match="shape"):
        load_clip(tower, {**state, "visual_projection.weight": torch.zeros(25, 64)})


def test_a_file_that_holds_code_is_not_run(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(WeightsError, match="more than tensors"):
        read_weights(tmp_path / "whole.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_weights(tmp_path / "missing.safetensors")


def test_a_preset_without_weights_says_what_to_give() -> None:
    with pytest.raises(WeightsError, match="--weights FILE"):
        pretrained_tower("clip-l14")
    with pytest.raises(TowerError, match="clip-b32"):
        empty_tower("clip-x")


@pytest.mark.parametrize("model", TIMM_MODELS)
def test_timm_towers_compute_what_timm_computes_and_take_adapters(model: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(model, pretrained=False, num_classes=0).eval()
    for name, value in theirs.named_parameters():  # biases and embeddings start as zeros
        if value.dim() == 1 and "bias" in name:
            nn.init.normal_(value, std=0.1)
        if "gamma" in name:  # layer scales start near zero and would hide the blocks
            nn.init.ones_(value)
    save_file({**theirs.state_dict(), "head.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    tower = timm_tower(f"timm:{model}", tmp_path / "w.safetensors").eval()
    pixels = torch.rand(1, 3, tower.size or 0, tower.size or 0) * 255
    with torch.inference_mode():
        expected = theirs(normalised(tower, pixels))
        assert torch.allclose(tower(pixels), expected, atol=1e-4)
    for make in (LoRA, Subspaces):
        branch = Branch("one", tower, len(tower.blocks) - 1, "pooled")
        adapters = adapt(branch.blocks, tower, make, tower.attending if make is LoRA else None)
        assert len(adapters) == len(
            list((tower.attending if make is LoRA else tower.adaptable)(tower.blocks[0]))
        )
        for parameter in branch.blocks.parameters():
            if parameter.requires_grad:
                parameter.data += 0.05 * torch.randn_like(parameter)
        branch.eval()
        with torch.inference_mode():
            h = tower.prefix(pixels, len(tower.blocks) - 1)
            adapted, plain = branch.features(tower, h), fold(branch)
            assert (adapted - expected).abs().max() > 1e-3  # the adapters are in the way of the tokens
            assert isinstance(plain, Branch)
            assert torch.allclose(plain.features(tower, h), adapted, atol=1e-4)


def test_what_timm_cannot_give_is_refused() -> None:
    with pytest.raises(TowerError, match="no vision transformer"):
        empty_timm("timm:vit_of_nobody")
    with pytest.raises(TowerError, match="ResNet"):
        empty_timm("timm:resnet18")


def test_a_trained_timm_ensemble_is_read_back_without_the_weights_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = empty_timm("timm:vit_tiny_patch16_224", 96)
    assert isinstance(tower, TimmTower)
    branches = [Branch("probe", tower, 10, "blocks", (3, 9, 10)), Branch("masm", tower, 10, "pooled")]
    view = ViewSpec(name="mosaic", kind="mosaic", size=96)
    ensemble = Ensemble(tower, branches, [view], ["mosaic", "mosaic"]).eval()
    save_ensemble(ensemble, tmp_path, {})
    again, _ = load_ensemble(tmp_path)
    pictures = {"mosaic": torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)}
    with torch.inference_mode():
        assert torch.allclose(ensemble(pictures), again(pictures), atol=1e-5)
    with pytest.raises(ValueError, match="0 to 11"):
        Branch("probe", tower, 10, "blocks", (12,))


def test_a_probe_reads_blocks_inside_the_shared_prefix_and_behind_it() -> None:
    torch.manual_seed(0)
    tower = empty_timm("timm:vit_tiny_patch16_224", 96).eval()
    view = ViewSpec(name="global", kind="global", size=96)
    pictures = {"global": torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)}
    inside, behind = (Branch("probe", tower, start, "blocks", (3, 9)) for start in (10, 2))
    behind.head.load_state_dict(inside.head.state_dict())
    assert len(inside.blocks) == 0
    with torch.inference_mode():
        logits = [Ensemble(tower, [one], [view], ["global"]).eval()(pictures) for one in (inside, behind)]
        h = tower.stem(pictures["global"].permute(0, 3, 1, 2).float())
        seen = []
        for block in tower.blocks:
            h = block(h)
            seen.append(tower.summary(h))
        expected = inside.head(torch.cat([seen[3], seen[9]], dim=1))
    for found in logits:
        assert torch.allclose(found, expected, atol=1e-5)
