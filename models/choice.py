"""What a run is trained with: a recipe, what the command line changes in it, and whether its tower can."""

import inspect
from dataclasses import dataclass
from typing import Any

from models.ensemble import crops_in
from models.recipe import NAMES, DetectorRecipe, Name, Precision, Recipe, RecipeError, read_recipe
from models.spec import ViewSpec
from models.towers.base import Tower
from models.train import METHODS

# The recipe of a tower where none is named; large towers start from the papers'.
RECIPES = {None: "default", "lite0": "default", "statistics": "statistics", "tiny": "small"}


@dataclass(frozen=True, slots=True)
class Choice:
    """The words of a command line. None or empty: as the recipe says."""

    recipe: str | None = None
    detectors: tuple[Name, ...] = ()
    every: bool = False  # all methods that there are
    tower: str | None = None
    adapt_from: int | None = None
    precision: Precision | None = None
    seed: int | None = None


def chosen(choice: Choice) -> Recipe:
    """The recipe with what the command line changes, and only the views that its detectors read.

    Raises RecipeError.
    """
    recipe = read_recipe(choice.recipe or RECIPES.get(choice.tower, "paper"))
    names = ("tower", "adapt_from", "precision", "seed")
    update: dict[str, Any] = {name: getattr(choice, name) for name in names}
    update = {name: value for name, value in update.items() if value is not None}
    detectors = _detectors(recipe, choice)
    read = {one.view for one in detectors}
    update |= {"detectors": detectors, "views": tuple(view for view in recipe.views if view.name in read)}
    return Recipe.model_validate(recipe.model_copy(update=update).model_dump())


def _detectors(recipe: Recipe, choice: Choice) -> tuple[DetectorRecipe, ...]:
    """Those asked for; one that the recipe does not name has its defaults and reads the first view."""
    named = {one.name: one for one in recipe.detectors}
    if choice.every:
        wanted = [*named, *(name for name in NAMES if name not in named)]
    else:
        wanted = list(dict.fromkeys(choice.detectors)) or list(named)
    first = recipe.views[0].name
    return tuple(named.get(name) or DetectorRecipe(name=name, view=first) for name in wanted)


def fitted(recipe: Recipe, tower: Tower) -> Recipe:
    """The recipe with its views at the only side of pictures that `tower` reads. Raises RecipeError."""
    if tower.size is None:
        return recipe
    views = tuple(_sized(view, tower.size, tower.name) for view in recipe.views)
    return recipe.model_copy(update={"views": views})


def _sized(view: ViewSpec, side: int, tower: str) -> ViewSpec:
    match view.kind:
        case "crops":
            grid = round(crops_in(view) ** 0.5)
            update = {"size": grid * side, "tile": side}
        case "mosaic" if side % view.tile:
            raise RecipeError(
                f"{tower} reads pictures of {side} pixels, which a mosaic of {view.tile}-pixel tiles cannot "
                f"fill: give a recipe with another view than {view.name}, such as --recipe probe"
            )
        case _:
            update = {"size": side}
    return ViewSpec.model_validate({**view.model_dump(), **update})


def check(recipe: Recipe, tower: Tower) -> None:
    """Whether `tower` can be trained by `recipe`: before hours of training, not after. Raises RecipeError."""
    for view in recipe.views:
        _check_view(view, tower)
    _check_start(recipe, tower)
    for one in recipe.detectors:
        _check_options(one, tower)
    taught = recipe.tune.steps or recipe.head.steps
    if not taught and any(one.name == "dgs_net" for one in recipe.detectors):
        raise RecipeError("dgs_net needs a teacher: give the stage `head` or the stage `tune` some steps")


def _check_start(recipe: Recipe, tower: Tower) -> None:
    blocks, probes = len(tower.blocks), {one.name for one in recipe.detectors} == {"probe"}
    last = blocks if probes else blocks - 1
    if last < 0:
        raise RecipeError(f"{tower.name} has no blocks to adapt: only --detector probe can be trained on it")
    if recipe.adapt_from > last:
        raise RecipeError(
            f"adapt_from {recipe.adapt_from} leaves nothing to adapt: {tower.name} has {blocks} blocks, "
            f"so it can be 0 to {last}"
        )


def _check_options(one: DetectorRecipe, tower: Tower) -> None:
    try:
        inspect.signature(METHODS[one.name]).bind(tower, 0, **one.options)
    except TypeError as error:
        raise RecipeError(f"{one.name} has no such option: {error}") from error
    taps = one.options.get("blocks", ())
    if isinstance(taps, tuple) and any(not 0 <= tap < len(tower.blocks) for tap in taps):
        there = f"0 to {len(tower.blocks) - 1}" if len(tower.blocks) else "none"
        raise RecipeError(f"{one.name} reads blocks {taps}, {tower.name} has {there}")


def _check_view(view: ViewSpec, tower: Tower) -> None:
    side = view.tile if view.kind == "crops" else view.size
    if tower.size is not None and side != tower.size:
        raise RecipeError(
            f"the view {view.name} gives pictures of {side} pixels, {tower.name} reads {tower.size}: "
            "change the view in the recipe, or name the tower with --tower, which sizes the views for it"
        )
    if side % tower.multiple:
        raise RecipeError(
            f"the view {view.name} gives pictures of {side} pixels, {tower.name} reads multiples of "
            f"{tower.multiple}: change the view in the recipe"
        )
