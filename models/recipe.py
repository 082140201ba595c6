"""How a run is trained: one TOML file a recipe, all its numbers in one place."""

import tomllib
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.spec import ViewSpec

RECIPES = Path(__file__).with_name("recipes")
Name = Literal["pin_clip", "dgs_net", "masm", "probe"]
NAMES: tuple[Name, ...] = get_args(Name)
Precision = Literal["fp32", "bf16"]  # bf16: products in bfloat16; weights, sums and norms in float32


class RecipeError(Exception):
    """A recipe that cannot be read, or that does not fit its tower; the message says what to change."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(_Strict):
    """One optimisation: `steps` of `pairs` real/synthetic pairs each."""

    steps: int = Field(ge=0)
    pairs: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"  # cosine: a linear warm-up before it
    clip: float = Field(default=5.0, ge=0)  # largest norm of the whole gradient; 0 leaves gradients alone
    mild: float = Field(default=0.0, ge=0, le=1)  # share of the steps, from the first, with milder codecs
    every: dict[str, int] = {}  # a view that only every n-th step looks at, for views that cost much


class DetectorRecipe(_Strict):
    """One method: the view that it reads and its own constants (keyword arguments of its class)."""

    name: Name
    view: str
    options: dict[str, int | float | tuple[int, ...]] = {}
    lr: float | None = Field(default=None, gt=0)  # in place of the stage's
    weight_decay: float | None = Field(default=None, ge=0)  # in place of the stage's


class Recipe(_Strict):
    """All that a run depends on beside the data."""

    name: str
    tower: str
    adapt_from: int = Field(ge=0)  # blocks before it are shared, bit-identical, by all detectors
    seed: int = 0
    precision: Precision = "fp32"
    # Both pictures of a pair are brought to a short side drawn from here; "native" leaves them as they are.
    short_sides: tuple[int, int] | Literal["native"] = (256, 256)
    views: tuple[ViewSpec, ...] = Field(min_length=1)
    detectors: tuple[DetectorRecipe, ...] = Field(min_length=1)
    tune: Stage  # whole tower on the forensic task first; 0 steps leaves it as pretrained
    head: Stage  # DGS-Net's stage 1: linear head on the frozen tower; 0 steps where `tune` made one
    methods: Stage
    family_weights: dict[str, float] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names, views = [one.name for one in self.detectors], {view.name for view in self.views}
        if len(set(names)) < len(names):
            raise ValueError("a detector is named twice")
        unknown = {one.view for one in self.detectors} - views
        if unknown:
            raise ValueError(f"a detector reads {', '.join(sorted(unknown))}, which is no view of the recipe")
        return self

    def view(self, name: str) -> ViewSpec:
        """The view of that name. Raises KeyError."""
        return {view.name: view for view in self.views}[name]


def read_recipe(name_or_file: str) -> Recipe:
    """A recipe by name ("small") or by TOML file. Raises RecipeError."""
    given = Path(name_or_file)
    file = given if given.suffix == ".toml" else RECIPES / f"{name_or_file}.toml"
    try:
        return Recipe.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
        raise RecipeError(
            f"there is no recipe {name_or_file}: give a TOML file, or one of {names}"
        ) from error
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise RecipeError(f"the recipe {file} is not valid: {error}") from error
