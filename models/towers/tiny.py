"""`tiny`: a small vision transformer with random weights. For tests; it knows nothing."""

import torch
from torch import Tensor, nn

from models.towers.transformer import Block, TransformerTower


class TinyTower(TransformerTower):
    """3 blocks of 32 channels on 16-pixel patches of any square picture, class token, 24-d joint space."""

    name, multiple, pooled_dim, joint_dim = "tiny", 16, 32, 24

    def __init__(self, seed: int = 0) -> None:
        super().__init__(mean=(127.5,) * 3, std=(64.0,) * 3)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.patch = nn.Conv2d(3, 32, 16, stride=16)
            self.class_token = nn.Parameter(torch.randn(1, 1, 32))
            self.blocks = nn.ModuleList(Block(32, 4, 2, nn.GELU()) for _ in range(3))
            self.norm_after = nn.LayerNorm(32)
            self.projection = nn.Linear(32, 24, bias=False)
            self.register_buffer("class_text", torch.randn(2, 24))

    def stem(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 1 + H W / 256, 32]."""
        patches = self.patch((pixels - self.mean) / self.std).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)
