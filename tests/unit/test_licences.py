"""The licences in a manifest: known for packages, stated for a user's own weights, and never guessed."""

import pytest

from trt_build.licences import NOT_STATED, LicenceError, licences

CLIP_FILE = {"weights": {"file": "ViT-L-14.safetensors"}, "text_side": "the tower's own text tower"}
FITTED = {"text_side": "MiniLM and a fitted projection"}


@pytest.mark.parametrize("stated", ["MIT", None])
def test_a_users_own_weights_have_the_licence_that_was_stated_or_none(stated: str | None) -> None:
    assert licences("clip-l14", CLIP_FILE, stated) == {
        "clip-l14 weights (ViT-L-14.safetensors)": stated or NOT_STATED
    }


def test_weights_of_timms_hub_and_of_runs_that_kept_no_file_name() -> None:
    assert licences("timm:vit_tiny", {}, None) == {"timm:vit_tiny weights (timm's hub)": NOT_STATED}
    assert licences("clip-b16", {}, None) == {"clip-b16 weights (a file of the user's)": NOT_STATED}


def test_minilm_is_named_where_it_was_trained_with() -> None:
    assert len(licences("timm:vit_tiny", FITTED, None)) == 2
    assert set(licences("lite0", FITTED, None).values()) == {"Apache-2.0"}
    assert not any("MiniLM" in name for name in licences("lite0", {}, None))


def test_a_packages_licence_is_not_overruled() -> None:
    with pytest.raises(LicenceError, match="leave --licence out"):
        licences("lite0", FITTED, "proprietary")
