"""What a command line makes of a recipe, and what is refused before training starts."""

from pathlib import Path
from typing import Any

import pytest

from models.choice import Choice, check, chosen, fitted
from models.recipe import NAMES, Recipe, RecipeError, read_recipe
from models.towers.registry import pretrained_tower
from models.towers.tiny import TinyTower
from models.towers.vit import VitTower


def vit(size: int) -> VitTower:
    return VitTower(name="sized", width=32, depth=2, heads=2, patch=14 if size % 14 == 0 else 16, size=size)


def small_one(**changes: Any) -> Recipe:
    """A recipe that `tiny` can be trained by."""
    recipe = read_recipe("small").model_copy(update={"adapt_from": 2})
    return Recipe.model_validate(recipe.model_dump() | changes)


def test_a_large_tower_starts_from_the_papers_recipe() -> None:
    assert chosen(Choice()).name == "default"
    assert chosen(Choice(tower="lite0")).name == "default"
    assert chosen(Choice(tower="tiny")).name == "small"
    recipe = chosen(Choice(tower="timm:vit_base_patch16_224"))
    assert (recipe.name, recipe.tower) == ("paper", "timm:vit_base_patch16_224")


def test_the_papers_recipe_says_what_the_papers_say() -> None:
    recipe = read_recipe("paper")
    assert (recipe.adapt_from, recipe.tune.steps, recipe.short_sides) == (0, 0, "native")
    for one in recipe.detectors[:2]:
        assert {"rank": 6, "alpha": 6.0, "dropout": 0.8}.items() <= one.options.items()
    stages = (recipe.head, recipe.methods)
    assert [2 * stage.pairs * stage.steps for stage in stages] == [3 * 144_000, 144_000]  # epochs
    check(recipe.model_copy(update={"tower": "sized"}), vit(224))


def test_the_command_line_wins() -> None:
    recipe = chosen(Choice("paper", adapt_from=12, precision="bf16", seed=7))
    assert (recipe.adapt_from, recipe.precision, recipe.seed) == (12, "bf16", 7)
    one = chosen(Choice("paper", detectors=("dgs_net",)))
    assert [view.name for view in one.views] == ["mosaic"]  # nothing is rendered that nobody reads
    other = chosen(Choice("paper", detectors=("masm", "probe")))
    assert [(detector.name, detector.view) for detector in other.detectors] == [
        ("masm", "global"),
        ("probe", "mosaic"),  # not in the recipe: its first view
    ]
    assert {detector.name for detector in chosen(Choice("small", every=True)).detectors} == set(NAMES)


def test_the_default_recipe_fits_its_tower() -> None:
    recipe = chosen(Choice())
    assert {detector.name for detector in recipe.detectors} == set(NAMES)
    assert len(recipe.views) == 1  # one prefix for all of them
    check(recipe, pretrained_tower(recipe.tower))


def test_views_take_the_side_of_the_tower() -> None:
    recipe = fitted(read_recipe("small"), vit(256))
    assert {view.name: (view.size, view.tile) for view in recipe.views} == {
        "crops": (512, 256),  # a grid of 2 x 2
        "mosaic": (256, 32),
    }
    with pytest.raises(RecipeError, match="--recipe probe"):
        fitted(read_recipe("small"), vit(378))
    assert fitted(read_recipe("probe"), vit(378)).views[0].size == 378
    assert fitted(read_recipe("small"), TinyTower()) == read_recipe("small")  # it reads any side


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"adapt_from": 3}, "it can be 0 to 2"),
        ({"tune": {"steps": 0, "pairs": 1, "lr": 1e-3}}, "teacher"),
        ({"detectors": [{"name": "masm", "view": "crops", "options": {"ranks": 2}}]}, "no such option"),
        ({"detectors": [{"name": "probe", "view": "crops", "options": {"blocks": [3]}}]}, "tiny has 0 to 2"),
        ({"views": [{"name": n, "kind": "global", "size": 100} for n in ("crops", "mosaic")]}, "of 16"),
    ],
)
def test_what_a_tower_cannot_do_is_refused_before_training(changes: dict[str, Any], complaint: str) -> None:
    check(small_one(), TinyTower())
    with pytest.raises(RecipeError, match=complaint):
        check(small_one(**changes), TinyTower())


def test_a_view_of_another_size_is_refused_where_the_recipe_names_the_tower() -> None:
    with pytest.raises(RecipeError, match="128 pixels, sized reads 224"):
        check(small_one(), vit(224))


@pytest.mark.parametrize("text", ["name = ", 'name = "x"', None])
def test_a_recipe_that_cannot_be_read_says_why(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    if text:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"mine\.toml"):
        read_recipe(str(file))


def test_a_recipe_must_agree_with_itself() -> None:
    twice = [{"name": "masm", "view": "crops"}, {"name": "masm", "view": "mosaic"}]
    with pytest.raises(ValueError, match="named twice"):
        small_one(detectors=twice)
    with pytest.raises(ValueError, match="no view of the recipe"):
        small_one(detectors=[{"name": "masm", "view": "face"}])
