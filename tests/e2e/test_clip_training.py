"""A user with CLIP weights: one command trains, one exports, and the service's engine gives torch's logits.

ViT-B/32 with random weights, in the layout that open_clip writes; real photographs and enlarged copies.
"""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from skimage import data as photographs
from typer.testing import CliRunner, Result

from models.bundle import Bundle, load_bundle
from models.checkpoints import load_ensemble
from models.scoring import open_engine
from models.towers.clip import clip_tower
from models.towers.clip_text import clip_text
from models.towers.weights import read_weights
from stream.cli import build
from stream.engines.choose import load_engine
from stream.settings import load_settings
from trt_build.halve import round_weights

DETECTORS = ("pin_clip", "masm", "probe")  # of the recipe's four
RECIPE = """
name = "test"
tower = "tiny"
adapt_from = 0
short_sides = "native"
tune = { steps = 0, pairs = 1, lr = 1e-3 }
head = { steps = 1, pairs = 1, lr = 1e-3 }
methods = { steps = 2, pairs = 1, lr = 1e-2, schedule = "constant", clip = 0.0 }
views = [{ name = "global", kind = "global", size = 64 }]
detectors = [
    { name = "pin_clip", view = "global" },
    { name = "dgs_net", view = "global" },
    { name = "masm", view = "global", options = { count = 1, rank = 2 }, lr = 1e-3 },
    { name = "probe", view = "global", options = { blocks = [5, 10] } },
]
"""


@pytest.fixture(scope="module")
def theirs() -> Any:
    """open_clip's own ViT-B/32, both towers."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return open_clip.create_model("ViT-B-32-quickgelu").eval()


@pytest.fixture(scope="module")
def weights(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a training script of open_clip leaves them."""
    file = tmp_path_factory.mktemp("weights") / "vit_b_32.pt"
    state = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    torch.save({"state_dict": state}, file)
    return file


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real photographs as JPEG, and copies of them enlarged from a third, as PNG."""
    root = tmp_path_factory.mktemp("data")
    for folder in ("real/skimage", "fake/enlarged"):
        (root / folder).mkdir(parents=True)
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        photo = Image.fromarray(getattr(photographs, name)()[:300, :300])
        photo.save(root / "real/skimage" / f"{name}.jpg", quality=90)
        photo.resize((100, 100)).resize(photo.size).save(root / "fake/enlarged" / f"{name}.png")
    return root


def pixassay_model(*arguments: str | Path) -> Result:
    return CliRunner().invoke(build("model"), ["model", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def trained(weights: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a `pixassay model train`: both kinds of adapters, and a probe inside the prefix."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    places: list[str | Path] = ["--data", data, "--out", folder, "--recipe", folder / "recipe.toml"]
    for name in DETECTORS:
        places += ["--detector", name]
    options = ("--tower", "clip-b32", "--weights", weights, "--adapt-from", "11")
    answer = pixassay_model("train", *places, *options)
    assert answer.exit_code == 0, answer.output
    return folder


@pytest.fixture(scope="module")
def bundle(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    answer = pixassay_model("export", trained, folder, "--name", "clip")
    assert answer.exit_code == 0, answer.output
    return load_bundle(folder)


def test_the_image_tower_computes_what_open_clip_computes(theirs: Any, weights: Path) -> None:
    tower = clip_tower("clip-b32", weights).eval()
    pixels = torch.rand(2, 3, 224, 224) * 255
    with torch.inference_mode():
        expected = theirs.encode_image((pixels - tower.mean) / tower.std)
        assert torch.allclose(tower.joint(tower(pixels)), expected, atol=1e-4)


def test_the_text_tower_computes_what_open_clip_computes(theirs: Any, weights: Path) -> None:
    encode = clip_text(read_weights(weights), 512)
    assert encode is not None
    sentences = ["A real photo", "a rather longer sentence about a fake photo"]
    with torch.inference_mode():
        expected = theirs.encode_text(open_clip.get_tokenizer("ViT-B-32")(sentences))
        assert torch.allclose(encode(sentences), expected, atol=1e-4)


def test_the_chosen_detectors_are_trained_on_views_of_the_towers_size(trained: Path) -> None:
    ensemble, facts = load_ensemble(trained)
    assert [branch.name for branch in ensemble.detectors()] == list(DETECTORS)
    assert {view.size for view in ensemble.views.values()} == {224}
    assert facts["text_side"] == "the tower's own text tower"
    assert 0 <= facts["noise"]["noise_auc"] <= 1
    assert (trained / "methods.csv").read_text(encoding="utf-8").startswith("step,total,pin_clip_total,")
    assert facts["recipe"]["adapt_from"] == 11


def test_the_folded_graph_gives_torchs_logits(trained: Path, bundle: Bundle) -> None:
    views, _ = bundle.golden()
    ensemble = load_ensemble(trained)[0]
    round_weights(ensemble)  # as the export does: large weights are stored in half precision
    with torch.inference_mode():
        expected = ensemble({name: torch.from_numpy(array) for name, array in views.items()}).numpy()
    assert np.ptp(expected, axis=1).min() > 1e-3  # detectors that differ
    assert np.abs(open_engine(bundle)(views) - expected).max() <= 1e-4


def test_the_service_serves_it(bundle: Bundle) -> None:
    engine = load_engine(bundle, load_settings(engine="openvino", threads=1))  # refuses other logits
    assert engine.name == "openvino"
    engine.close()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--tower", "clip-b32"], "--weights FILE"),
        (["--tower", "clip-x"], "clip-b32"),
        (["--tower", "tiny", "--adapt-from", "3"], "it can be 0 to 2"),
        (["--tower", "timm:vit_small_patch14_dinov2", "--weights", "missing.pt"], "cannot be read"),
        (["--recipe", "nobody"], "small"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(
    arguments: list[str], complaint: str, data: Path, tmp_path: Path
) -> None:
    answer = pixassay_model("train", "--data", data, "--out", tmp_path / "run", *arguments)
    assert answer.exit_code == 2, answer.output
    assert complaint in answer.output
    assert not (tmp_path / "run").exists()
