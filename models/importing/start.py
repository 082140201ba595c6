"""An imported tower as the start of a training of one's own."""

from pathlib import Path

from safetensors.torch import save_file

from models.ensemble import Ensemble
from models.importing.kinds import Kind, Request, import_file
from models.importing.published import PUBLISHED
from models.towers.clip import hugging_face
from models.towers.vit import VitTower
from models.towers.weights import WeightsError


def write_tower(request: Request, kind: Kind, file: Path) -> None:
    """The dense image tower in Hugging Face's layout, as `pixassay model train --weights` reads it.

    Raises WeightsError where there is none, or none that is whole.
    """
    net = import_file(request, kind).net if kind in PUBLISHED else None
    tower = net.tower if isinstance(net, Ensemble) else None
    if not isinstance(tower, VitTower):
        raise WeightsError(f"{request.path} ({kind}) has no CLIP tower to train on: leave --tower-out out")
    if tower.joint_dim == 1:
        raise WeightsError(
            f"{request.path} has no visual projection, which training needs: give the CLIP that it was made "
            "from with --clip-weights FILE"
        )
    own = tower.state_dict()
    origins = hugging_face(len(tower.blocks))
    save_file({there.name: own[name].contiguous() for name, there in origins.items()}, file)
