"""Every generator that needs no extra weights, on a real photograph: same size, seeded, near its source."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from models.layouts import INDEX, scan
from models.synthesis import copies, plan
from models.synthesis.base import RGB, SynthesisError, resize
from models.synthesis.fetch import packages
from models.synthesis.make import synthesize
from models.synthesis.registry import FAMILIES, family_of, make
from models.synthesis.self_blend import find_face
from models.synthesis.taef2 import Taef2, decoder, encoder

# realesrgan is left out: seconds a picture, and its runtime is the one that srvgg tests.
READY = ("srvgg", "waifu2x", "cugan", "style26", "subpixel", "nearest_conv", "self_blend")


def _shipped(name: str) -> RGB:
    """One of scikit-image's photographs."""
    return np.asarray(getattr(data, name)(), dtype=np.uint8)


@pytest.fixture(scope="module")
def photograph() -> RGB:
    """A cat, 99 x 149: odd sides on purpose."""
    return resize(_shipped("chelsea"), 149, 99, "box")


def _psnr(first: RGB, second: RGB) -> float:
    error = float(((first.astype(float) - second) ** 2).mean())
    return 10 * float(np.log10(255**2 / error))


@pytest.mark.parametrize("name", READY)
def test_a_double_has_the_size_of_its_photograph_and_looks_like_it(name: str, photograph: RGB) -> None:
    generator = make(name)
    assert (generator.name, generator.family) == (name, FAMILIES[name])
    double = generator.apply(photograph, np.random.default_rng(1))
    assert double.shape == photograph.shape
    assert double.dtype == np.uint8
    assert 12 < _psnr(double, photograph) < 50  # neither noise nor the photograph itself
    again = generator.apply(photograph, np.random.default_rng(1))
    assert np.array_equal(double, again)


@pytest.fixture(scope="module")
def random_taef2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Weight files of the right shapes with random numbers, half precision as the published ones are."""
    folder = tmp_path_factory.mktemp("weights") / "taef2"
    folder.mkdir()
    torch.manual_seed(0)
    files = folder / "taef2_encoder.pth", folder / "taef2_decoder.pth"
    for network, file in zip((encoder(), decoder()), files, strict=True):
        torch.save({key: value.half() for key, value in network.state_dict().items()}, file)
    return files


def test_taef2_has_the_published_number_of_parameters() -> None:
    """1.34 million for each half, so that a changed layer does not pass for the same network."""
    for network in (encoder(), decoder()):
        assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(1.34e6, rel=0.03)


def test_taef2_keeps_odd_sizes_and_its_variants_differ(
    random_taef2: tuple[Path, Path], photograph: RGB
) -> None:
    plain, noisy = Taef2(*random_taef2), Taef2(*random_taef2, variant="noise")
    first = plain.apply(photograph, np.random.default_rng(0))
    assert first.shape == photograph.shape
    assert np.array_equal(first, plain.apply(photograph, np.random.default_rng(9)))  # nothing is drawn
    assert not np.array_equal(first, noisy.apply(photograph, np.random.default_rng(0)))


def test_weights_are_found_below_the_given_folders_or_asked_for(random_taef2: tuple[Path, Path]) -> None:
    assert make("taef2_coarse", [random_taef2[0].parent.parent]).name == "taef2_coarse"
    with pytest.raises(SynthesisError, match=r"dcgan_face64/weights\.tar"):
        make("dcgan_face64", [random_taef2[0].parent.parent])
    with pytest.raises(SynthesisError, match="no generator"):
        make("midjourney")


def test_super_resolution_is_one_family_and_a_stranger_is_his_own() -> None:
    assert {family_of(name) for name in ("srvgg", "realesrgan", "waifu2x", "cugan")} == {"super_resolution"}
    assert family_of("midjourney") == "midjourney"


def test_the_face_is_found_and_the_rest_of_the_picture_mostly_kept() -> None:
    portrait = resize(_shipped("astronaut"), 256, 256, "box")
    box = find_face(portrait)
    assert box is not None
    left, top, width, height = box
    assert abs(left + width / 2 - 112) < 20
    assert abs(top + height / 2 - 56) < 25
    blend = make("self_blend")
    changes = [
        np.abs(blend.apply(portrait, np.random.default_rng(seed)).astype(int) - portrait).mean(axis=2)
        for seed in range(8)
    ]
    inside = np.mean([change[top : top + height, left : left + width].mean() for change in changes])
    assert inside > 2


def test_a_copy_is_always_shrunk_and_within_the_photograph() -> None:
    for seed in range(60):
        cut = copies.draw_cut((640, 480), (180, 330), np.random.default_rng(seed))
        assert cut is not None
        left, top, right, bottom = cut.box
        assert 0 <= left < right <= 640
        assert 0 <= top < bottom <= 480
        assert 128 <= min(cut.size) <= 330
        assert min(cut.size) <= copies.LEAST_SHRINK * min(right - left, bottom - top) + 1


def test_a_picture_too_small_to_shrink_is_left_out() -> None:
    assert copies.draw_cut((140, 140), (128, 200), np.random.default_rng(0), whole=True) is None


@pytest.fixture
def small_plan(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of photographs with a plan of two cheap generators over them."""
    folder = tmp_path / "pictures"
    for name in ("chelsea", "coffee"):
        place = folder / "photos" / f"{name}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_shipped(name)).save(place)
    (folder / "ready").mkdir()
    for number in (6, 7, 8):
        Image.fromarray(_shipped("rocket")).save(folder / "ready" / f"sample_{number}.png")
    file = tmp_path / "plan.toml"
    file.write_text(
        "[rates]\nsubpixel = 1.0\nnearest_conv = 0.5\n"
        '[[source]]\nname = "p"\nfolder = "photos"\ncopies = 3\nshort_sides = [128, 160]\n'
        '[[source]]\nname = "r"\nfolder = "ready"\ngenerator = "sd1"\nper_prompt = 2\n'
        "short_sides = [128, 160]\n"
    )
    return file, folder


def _run(small_plan: tuple[Path, Path], out: Path, stop: Callable[[int, str], None] | None = None) -> int:
    file, folder = small_plan
    todo = plan.jobs(plan.read_plan(file), [folder], seed=0)
    return synthesize(todo, out, weights=[], seed=0, progress=stop or (lambda _done, _what: None))


def _contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.png"))}


def test_the_data_set_is_read_back_with_its_twins_and_prompts(
    small_plan: tuple[Path, Path], tmp_path: Path
) -> None:
    _run(small_plan, tmp_path / "out")
    pictures = scan(tmp_path / "out")
    aligned = [one for one in pictures if one.generator == "subpixel"]
    assert len(aligned) == 6
    for double in aligned:
        assert double.twin is not None
        with Image.open(double.path) as own, Image.open(double.twin) as twin:
            assert own.size == twin.size
    prompts = {one.path.stem: one.group for one in pictures if one.generator == "sd1"}
    assert len(prompts) == 3
    assert len(set(prompts.values())) == 2  # 6 and 7 share a prompt, 8 has its own


def test_a_run_that_was_cut_off_goes_on_and_ends_the_same(
    small_plan: tuple[Path, Path], tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, _what: str) -> None:
        if done == 4:
            raise Stopped

    whole, halved = tmp_path / "whole", tmp_path / "halved"
    made = _run(small_plan, whole)
    with pytest.raises(Stopped):
        _run(small_plan, halved, stop)
    index = halved / INDEX
    index.write_bytes(index.read_bytes()[:-9])  # the last line was cut short
    rest = _run(small_plan, halved)
    assert 0 < rest < made
    assert _contents(halved) == _contents(whole)
    lines = [sorted((out / INDEX).read_text().splitlines()) for out in (whole, halved)]
    assert lines[0] == lines[1]
    assert _run(small_plan, whole) == 0


def test_a_missing_source_is_named(small_plan: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="no pictures of p"):
        plan.jobs(plan.read_plan(small_plan[0]), [tmp_path / "empty"], seed=0)


def test_the_shipped_plan_names_only_generators_and_sources_that_exist() -> None:
    written = plan.read_plan(plan.DEFAULT)
    shared = {"caltech101", "caltech101_faces", "clothing", "sd1_laion_prompts", "portraits_sd3"}
    fetched = {package.source for package in packages()}
    assert {entry["folder"] for entry in written["source"]} <= shared | fetched
    assert set(written["rates"]) <= set(FAMILIES)
    assert tomllib.loads(plan.DEFAULT.read_text()) == written
