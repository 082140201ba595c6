"""A CLIP tower that was trained on another normalisation of its pixels than CLIP's."""

import torch

from models.towers.vit import MEAN, STD, VitTower

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # pixels in 0..255


@torch.no_grad()
def read_as_imagenet(tower: VitTower) -> None:
    """Make a tower that was trained on ImageNet's normalisation right for CLIP's, which its stem applies.

    (x - m) / s differs between the two by one affine map a channel, and the patch convolution has no
    padding, so the map folds into it exactly: a factor an input channel, and a constant that joins the
    positions of the patches.
    """
    factor = torch.tensor(STD) / torch.tensor(IMAGENET_STD)  # [3]
    shift = (torch.tensor(MEAN) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)  # [3]
    kernel = tower.patch.weight.double()  # [width, 3, p, p]
    constant = (kernel.sum(dim=(2, 3)) * shift.double()).sum(dim=1)  # [width]
    tower.positions[:, 1:] += constant.to(tower.positions.dtype)
    tower.patch.weight.copy_(kernel * factor.double()[:, None, None])
