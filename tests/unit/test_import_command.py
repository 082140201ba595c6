"""`pixassay model import` and `pixassay score`: what is served is what the source computes.

One bundle takes up several files, one after another; one picture is scored with it; and each logit is held
against the source's own forward pass on pixels that are prepared here as its authors do. An export takes
seconds, so kinds that differ from these only in how the file is read are held against it before the export.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import skimage.data
import timm
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from timm.data.config import resolve_data_config
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil
from typer.testing import CliRunner

from models.bundle import CARD, Bundle, load_bundle
from models.faces import cut, face_square
from models.importing.kinds import Request, import_file, kind_of
from models.importing.preprocessing import Given
from models.importing.start import write_tower
from models.spec import ViewSpec
from models.towers.clip import clip_weights
from models.towers.weights import WeightsError, read_weights
from models.views import render
from stream.cli import build
from stream.settings import PREFIX
from tests.unit.published_files import (
    IMAGENET,
    JOINT,
    SIZE,
    below_visual,
    dgs_file,
    effort_file,
    normalised,
    openai_forward,
    openai_visual,
)

CLIP = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
HALF = torch.full((3,), 0.5), torch.full((3,), 0.5)
PICTURE: NDArray[np.uint8] = skimage.data.astronaut()[:300, :431]  # type: ignore[no-untyped-call]
Forward = Callable[[], float]  # the source's own logit of PICTURE


def planes(pixels: NDArray[np.uint8], mean: Tensor, std: Tensor) -> Tensor:
    return normalised(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float(), mean, std)


def squashed(size: int, picture: NDArray[np.uint8] = PICTURE) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))


def face() -> NDArray[np.uint8]:
    square = face_square(PICTURE)
    assert square is not None
    return cut(PICTURE, square)


def centre(size: int) -> NDArray[np.uint8]:
    top, left = ((side - size) // 2 for side in PICTURE.shape[:2])
    return PICTURE[top : top + size, left : left + size]


@dataclass
class Source:
    """A file of somebody else."""

    name: str
    path: Path
    forward: Forward
    options: list[str] = field(default_factory=list)


def dgs_net(folder: Path) -> Source:
    state, visual, changes = dgs_file(1)
    torch.save(state, folder / "model_epoch_step2.pth")

    def forward() -> float:
        mosaic = render(PICTURE, ViewSpec(name="mosaic", kind="mosaic", size=SIZE))
        features = openai_forward(visual, planes(mosaic, *IMAGENET), changes)
        return float(features @ state["img_fc.weight"].T + state["img_fc.bias"])

    return Source("dgs_net", folder / "model_epoch_step2.pth", forward, ["--licence", "as agreed"])


def effort(folder: Path, tree: str, classes: int) -> Source:
    state, model, head = effort_file(tree, classes)
    path = folder / f"effort_{tree}.pth"
    torch.save({f"module.{name}": value for name, value in state.items()}, path)

    def forward() -> float:
        pixels = squashed(SIZE, face()) if tree == "deepfake" else centre(SIZE)
        with torch.no_grad():
            z = head(model(planes(pixels, *CLIP)).pooler_output)[0]
        return float(z[-1] - z[0]) if classes == 2 else float(z[0])

    return Source(f"effort_{tree}", path, forward, ["--name", f"effort_{tree}"])


def deepfake(folder: Path) -> Source:
    return effort(folder, "deepfake", 2)


def univfd(folder: Path) -> Source:
    visual, weight = openai_visual(4), torch.randn(1, JOINT, generator=torch.Generator().manual_seed(5))
    torch.save({"weight": weight, "bias": torch.ones(1)}, folder / "fc_weights.pth")
    torch.save(below_visual(visual), folder / "clip.pt")

    def forward() -> float:
        return float(openai_forward(visual, planes(centre(SIZE), *CLIP), {}) @ weight.T + 1)

    return Source("univfd", folder / "fc_weights.pth", forward, ["--clip-weights", str(folder / "clip.pt")])


def timm_file(folder: Path) -> Source:
    torch.manual_seed(6)
    net = timm.create_model("test_vit", num_classes=1).eval()
    torch.save({"state_dict": net.state_dict()}, folder / "timm.pth")
    config = resolve_data_config({}, model=net)  # type: ignore[no-untyped-call]
    mean, std = (torch.tensor(config[key]) for key in ("mean", "std"))
    resize = int(config["input_size"][-1] / config["crop_pct"])

    def forward() -> float:
        spec = ViewSpec(name="whole", kind="global", size=config["input_size"][-1], resize=resize)
        with torch.no_grad():
            return float(net(planes(render(PICTURE, spec), mean, std)))

    return Source("timm", folder / "timm.pth", forward, ["--timm", "test_vit"])


def transformers_folder(folder: Path) -> Source:
    torch.manual_seed(7)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=16,
        id2label={0: "artificial", 1: "human"},
        label2id={"artificial": 0, "human": 1},
    )
    model = ViTForImageClassification(config).eval()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder / "vit")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder / "vit")

    def forward() -> float:
        with torch.no_grad():
            z = model(pixel_values=planes(squashed(32), *HALF)).logits[0]
        return float(z[0] - z[1])

    return Source("imported", folder / "vit", forward)


def onnx_file(folder: Path) -> Source:
    """A small convolutional network that ends in a softmax, in an older opset, written by hand."""
    g = np.random.default_rng(8)
    weights = {
        "kernel": g.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "head": g.normal(size=(4, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "kernel"], ["maps"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 48, 48])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        folder / "theirs.onnx",
        save_as_external_data=True,  # as large networks are saved
        location=f"{folder.name}.weights",
        size_threshold=64,
    )

    def forward() -> float:
        maps = torch.conv2d(planes(squashed(48), *HALF), torch.from_numpy(weights["kernel"]), stride=2)
        z = torch.relu(maps).mean(dim=(2, 3)) @ torch.from_numpy(weights["head"])
        return float(z[0, 1] - z[0, 0])

    stated = ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--fit", "squash", "--resample", "bilinear"]
    return Source("onnx", folder / "theirs.onnx", forward, [*stated, "--synthetic-index", "1"])


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build("model"), ["model", "import", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stderr


@dataclass
class Chain:
    bundle: Bundle
    forwards: dict[str, Forward]
    said: dict[str, str]  # what the command printed
    served: dict[str, float]  # logits of PICTURE as `pixassay score` prints them


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("import")
    torch.set_num_threads(1)
    sources = [
        dgs_net(folder),
        effort(folder, "universal", 1),
        univfd(folder),
        onnx_file(folder),
    ]
    said, into = {}, list[str]()
    for index, source in enumerate(sources):
        out = folder / f"bundle{index}"
        status, said[source.name] = command(str(source.path), "--out", str(out), *into, *source.options)
        assert status == 0, said[source.name]
        into = ["--into", str(out)]
    bundle = load_bundle(out)
    forwards = {source.name: source.forward for source in sources}
    return Chain(bundle, forwards, said, served(bundle, folder)["logits"])


def served(bundle: Bundle, folder: Path) -> dict[str, Any]:
    """PICTURE as `pixassay score` prints it."""
    Image.fromarray(PICTURE).save(folder / "picture.png")
    with pytest.MonkeyPatch.context() as patched:
        # In float32 on every CPU; what OpenVINO computes, in bfloat16 on some, is held in test_engines.py.
        for name, value in {"ENGINE": "onnxruntime", "THREADS": "1", "DECODERS": "1"}.items():
            patched.setenv(PREFIX + name, value)
        patched.setenv(f"{PREFIX}BUNDLE", str(bundle.path))
        result = CliRunner().invoke(build("score"), ["score", "--json", str(folder / "picture.png")])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    row: dict[str, Any] = json.loads(result.stdout)
    assert row["bundle"] == bundle.id
    return row


NAMES = ["dgs_net", "effort_universal", "univfd", "onnx"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_served_is_what_the_source_computes(chain: Chain, name: str) -> None:
    expected = chain.forwards[name]()
    assert abs(chain.served[name] - expected) <= 1e-4 * max(1.0, abs(expected))


def test_the_bundle_says_where_each_detector_came_from(chain: Chain) -> None:
    manifest = chain.bundle.manifest
    assert [detector.name for detector in manifest.detectors] == NAMES
    assert [detector.weight for detector in manifest.detectors] == [1, 0, 0, 0]
    imported = manifest.training["imported"]
    assert imported["dgs_net"]["lora_was_merged"] is True
    assert imported["effort_universal"]["tree"] == "universal"
    assert manifest.licences["dgs_net: model_epoch_step2.pth"] == "as agreed"
    assert manifest.licences["univfd: fc_weights.pth"].startswith("not stated")
    assert manifest.policy.id.startswith("uncalibrated/1")
    assert "not calibrated yet" in chain.said["onnx"]
    card = (chain.bundle.path / CARD).read_text(encoding="utf-8")
    assert [f"## Imported: {name}" in card for name in NAMES] == [True] * len(NAMES)


def test_members_that_see_the_same_pixels_share_a_view(chain: Chain) -> None:
    reads = {detector.name: detector.view for detector in chain.bundle.manifest.detectors}
    assert reads["effort_universal"] == reads["univfd"]
    assert len({*reads.values()}) == len(chain.bundle.manifest.views) == 3


@pytest.mark.parametrize("make", [deepfake, timm_file, transformers_folder])
def test_what_is_exported_is_what_the_source_computes(make: Callable[[Path], Source], tmp_path: Path) -> None:
    source = make(tmp_path)
    stated = source.options[1] if source.options[:1] == ["--timm"] else None
    request = Request(source.path, Given(), architecture=stated)
    found = import_file(request, kind_of(request))
    view = torch.from_numpy(render(PICTURE, found.view).copy())[None]
    with torch.no_grad():
        logit = float(found.net({found.view.name: view}))
    assert abs(logit - source.forward()) < 1e-4


def test_the_tower_of_an_effort_file_starts_a_training(tmp_path: Path) -> None:
    """What is written reads back as the tower that the detector computes with; it needs a projection."""
    request, tower = Request(effort(tmp_path, "universal", 1).path, Given()), tmp_path / "tower.safetensors"
    imported = import_file(request, "effort")
    write_tower(request, "effort", tower)
    ours = imported.net.get_submodule("tower").state_dict()
    again = clip_weights(read_weights(tower), "tower")
    assert set(again) | {"class_text"} == set(ours)
    assert all(torch.equal(value, ours[name].reshape(value.shape)) for name, value in again.items())
    with pytest.raises(WeightsError, match="--clip-weights FILE"):
        write_tower(Request(deepfake(tmp_path).path, Given()), "effort", tower)


def test_a_fourth_detector_leaves_the_others_and_the_verdict_as_they_are(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    source = onnx_file(tmp_path)
    out = str(tmp_path / "four")
    status, said = command(str(source.path), "--out", out, "--into", str(tiny_bundle.path), *source.options)
    assert status == 0, said
    bundle = load_bundle(Path(out))
    assert bundle.id != tiny_bundle.id
    before, after = served(tiny_bundle, tmp_path), served(bundle, tmp_path)
    fourth = after["logits"].pop("onnx")
    assert abs(fourth - source.forward()) <= 1e-4 * abs(fourth)
    assert after["logits"] == pytest.approx(before["logits"], abs=1e-4)
    assert after["verdict"] == before["verdict"]
    assert after["score"] == pytest.approx(before["score"], abs=1e-5)


def test_what_cannot_be_imported_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "bundle")]
    torch.save({"encoder.weight": torch.ones(1)}, tmp_path / "strange.pth")
    status, said = command(str(tmp_path / "strange.pth"), *out)
    assert status == 1
    assert "none of the known layouts" in said
    assert "encoder.weight" in said
    state = dgs_file(0)[0]
    del state["img_fc.bias"]
    torch.save({**state, "surprise": torch.ones(1)}, tmp_path / "cut.pth")
    status, said = command(str(tmp_path / "cut.pth"), *out)
    assert status == 1
    assert "missing img_fc.bias; unexpected surprise" in said
    univfd(tmp_path)
    status, said = command(str(tmp_path / "fc_weights.pth"), *out)
    assert status == 1
    assert "--clip-weights FILE" in said
    source = onnx_file(tmp_path)
    status, said = command(str(source.path), *out)
    assert status == 1
    assert "state --mean, --std" in said
    status, said = command(str(source.path), *out, *source.options, "--resize", "32")
    assert status == 1
    assert "resize 32 leaves less than its size 48" in said
    assert not (tmp_path / "bundle").exists()
