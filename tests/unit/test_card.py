"""The model card speaks of the bundle at hand."""

import pytest

from models.bundle import Bundle
from models.card import render_card
from models.spec import Manifest

PICTURES = {"flux": 30, "real:street": 50, "real:studio": 20}


@pytest.fixture(scope="module")
def manifest(tiny_bundle: Bundle) -> Manifest:
    return tiny_bundle.manifest.model_copy(update={"training": {"pictures": PICTURES}})


def test_a_bundle_of_ones_own_is_not_called_the_default_one(manifest: Manifest) -> None:
    named_like_it = manifest.model_copy(update={"name": "default"})  # as `pixassay model export` names all
    for own in (manifest, named_like_it):
        card = render_card(own)
        assert f"`{own.name}` was trained on 100 pictures (real sources: 2, generators: 1)." in card
        for sentence in ("The default bundle", "trained in minutes", "nearly all of their pictures pass"):
            assert sentence not in card


def test_the_default_bundle_warns_of_itself(manifest: Manifest) -> None:
    card = render_card(manifest.model_copy(update={"name": "default", "tower": "lite0"}))
    assert "The default bundle is a small network trained in minutes" in card
    assert "nearly all of their pictures pass as authentic" in card


def test_what_a_manifest_does_not_say_is_not_made_up(tiny_bundle: Bundle) -> None:
    assert "does not say what it was trained on" in render_card(tiny_bundle.manifest)
