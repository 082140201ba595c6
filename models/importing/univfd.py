"""UnivFD's `fc_weights.pth` (Ojha et al., CVPR 2023): one linear layer on CLIP's joint embedding.

The file holds `weight` [1, 768] and `bias` [1], or the same below `fc.`; the tower is CLIP ViT-L/14 itself,
whose file the user gives. The feature is not L2-normalised.
"""

from torch import Tensor

from models.towers.weights import State, WeightsError, check_names

PREFIX = "fc."


def is_univfd(state: State) -> bool:
    """Whether these are the weights of one linear layer and nothing else."""
    return {name.removeprefix(PREFIX) for name in state} == {"weight", "bias"}


def convert(where: str, state: State, joint_dim: int) -> tuple[Tensor, Tensor]:
    """Weight [1, J] and bias [1] of the probe. Raises WeightsError."""
    named = {name.removeprefix(PREFIX): tensor.float() for name, tensor in state.items()}
    check_names(f"a UnivFD head ({where})", named, ("weight", "bias"))
    if list(named["weight"].shape) != [1, joint_dim]:
        raise WeightsError(
            f"{where}: the head reads {list(named['weight'].shape)}, but the tower's joint embedding has "
            f"{joint_dim} numbers: give the file of the tower that it was trained on (the published one: "
            "ViT-L/14)"
        )
    return named["weight"], named["bias"]
