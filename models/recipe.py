"""How a run is trained: one TOML file a recipe, all its numbers in one place."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models.spec import ViewSpec

RECIPES = Path(__file__).with_name("recipes")
Name = Literal["pin_clip", "dgs_net", "masm", "probe"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(_Strict):
    """One optimisation: `steps` of `pairs` real/synthetic pairs each."""

    steps: int = Field(ge=0)
    pairs: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_decay: float = 0.0
    mild: float = Field(default=0.0, ge=0, le=1)  # share of the steps, from the first, with milder codecs
    every: dict[str, int] = {}  # a view that only every n-th step looks at, for views that cost much


class DetectorRecipe(_Strict):
    """One method: the view that it reads and its own constants (keyword arguments of its class)."""

    name: Name
    view: str
    options: dict[str, int | float | tuple[int, ...]] = {}


class Recipe(_Strict):
    """All that a run depends on beside the data."""

    name: str
    tower: str
    adapt_from: int = Field(ge=0)  # blocks before it are shared, bit-identical, by all detectors
    seed: int = 0
    short_sides: tuple[int, int] = (256, 256)  # pictures are brought to a short side drawn from here
    views: tuple[ViewSpec, ...] = Field(min_length=1)
    detectors: tuple[DetectorRecipe, ...] = Field(min_length=1)
    tune: Stage  # whole tower on the forensic task first; 0 steps leaves it as pretrained
    head: Stage  # DGS-Net's stage 1: linear head on the frozen tower; 0 steps where `tune` made one
    methods: Stage
    family_weights: dict[str, float] = {}

    def view(self, name: str) -> ViewSpec:
        """The view of that name. Raises KeyError."""
        return {view.name: view for view in self.views}[name]


def read_recipe(name_or_file: str) -> Recipe:
    """A recipe by name ("small") or by file. Raises OSError, tomllib.TOMLDecodeError, ValidationError."""
    given = Path(name_or_file)
    file = given if given.suffix == ".toml" else RECIPES / f"{name_or_file}.toml"
    return Recipe.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
