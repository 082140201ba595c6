"""No leak between parts, and pairs as the training relies on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.augment import NONE
from models.data import PROXY, Holdout, PairedBatches, count, load, load_at, split_pictures
from models.layouts import LayoutError, Picture


def _pictures() -> list[Picture]:
    """300 photographs in two sources; every one re-synthesised once; 40 prompts of two pictures."""
    found: list[Picture] = []
    for number in range(300):
        source = "clothing" if number % 2 else "pexels_interiors"
        real = Picture(Path(f"r{number}.png"), 0, "", "", source, f"{source}/{number}")
        generator, family = ("taef2", "latent_autoencoder") if number % 3 else ("style26", "style")
        fake = Picture(Path(f"f{number}.png"), 1, generator, family, source, real.group, real.path)
        found += [real, fake]
    for number in range(80):
        group = f"sd1/prompt_{number // 2}"
        found.append(Picture(Path(f"s{number}.png"), 1, "sd1", "text_to_image", "sd1", group))
    return found


def test_no_photograph_and_no_prompt_is_in_two_parts() -> None:
    split = split_pictures(_pictures())
    parts = [{picture.group for picture in part} for part in (split.train, split.validation, split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 340
    assert all(parts)


def test_a_split_does_not_change_when_pictures_are_added() -> None:
    pictures = _pictures()
    few, all_ = split_pictures(pictures[:100]), split_pictures(pictures)
    assert {picture.path for picture in few.train} <= {picture.path for picture in all_.train}
    assert split_pictures(pictures, seed=1).train != all_.train


def test_the_proxy_is_in_no_part_that_is_fitted() -> None:
    split = split_pictures(_pictures(), holdout=PROXY)
    for part in (split.train, split.validation, split.test):
        assert not any(PROXY.covers(picture) for picture in part)
    unseen = [picture for picture in split.unseen if PROXY.covers(picture)]
    assert {picture.source for picture in unseen} == {"pexels_interiors", "sd1"}
    assert any(picture.label == 0 and picture.source == "clothing" for picture in split.unseen)


def test_a_held_out_generator_leaves_its_photographs() -> None:
    split = split_pictures(_pictures(), holdout=Holdout(generators=frozenset({"style26"})))
    assert count(split.train).keys() == {"real:clothing", "real:pexels_interiors", "sd1", "taef2"}


@pytest.fixture
def on_disk(tmp_path: Path) -> list[Picture]:
    """Ten photographs of differing brightness, ten doubles one step brighter, four ready-made fakes."""
    found: list[Picture] = []
    for number in range(10):
        real, fake = tmp_path / f"r{number}.png", tmp_path / f"f{number}.png"
        Image.fromarray(np.full((80, 100, 3), 20 * number, np.uint8)).save(real)
        Image.fromarray(np.full((80, 100, 3), 20 * number + 1, np.uint8)).save(fake)
        found.append(Picture(real, 0, "", "", "clothing" if number % 2 else "faces", f"g{number}"))
        found.append(Picture(fake, 1, "taef2", "latent_autoencoder", "x", f"g{number}", real))
    for number in range(4):
        ready = tmp_path / f"s{number}.png"
        Image.fromarray(np.full((90, 90, 3), 255, np.uint8)).save(ready)
        found.append(Picture(ready, 1, "sd1", "text_to_image", "sd1", f"p{number}"))
    return found


def test_an_aligned_fake_stands_beside_its_own_photograph(on_disk: list[Picture]) -> None:
    batches = PairedBatches(on_disk, pairs=40, strength=NONE, short_sides=(64, 64), crop=64)
    batch = next(iter(batches))
    assert batch.labels.tolist() == [0, 1] * 40
    for real, fake, pixels, double in zip(
        batch.pictures[::2], batch.pictures[1::2], batch.images[::2], batch.images[1::2], strict=True
    ):
        assert pixels.shape == double.shape == (64, 64, 3)
        if fake.twin:
            assert real.path == fake.twin
            assert (double.astype(int) - pixels == 1).all()


def test_ready_made_fakes_get_reals_of_the_named_sources(on_disk: list[Picture]) -> None:
    batches = PairedBatches(on_disk, pairs=30, partners={"sd1": ("clothing",)}, crop=32)
    batch = next(iter(batches))
    partners = [
        real for real, fake in zip(batch.pictures[::2], batch.pictures[1::2], strict=True) if not fake.twin
    ]
    assert partners
    assert {picture.source for picture in partners} == {"clothing"}


def test_families_are_drawn_evenly_or_as_weighed(on_disk: list[Picture]) -> None:
    def share(weights: dict[str, float]) -> float:
        batches = PairedBatches(
            on_disk, pairs=300, family_weights=weights, strength=NONE, short_sides=(32, 32), crop=32
        )
        batch = next(iter(batches))
        return batch.families.count("text_to_image") / len(batch.families)

    assert share({}) == pytest.approx(0.5, abs=0.1)
    assert share({"text_to_image": 0.25}) == pytest.approx(0.2, abs=0.1)


def test_one_seed_is_one_stream(on_disk: list[Picture]) -> None:
    def first_two(seed: int) -> list[np.ndarray]:
        stream = iter(PairedBatches(on_disk, pairs=4, seed=seed, crop=48))
        return [*next(stream).images, *next(stream).images]

    again = zip(first_two(1), first_two(1), strict=True)
    assert all(np.array_equal(a, b) for a, b in again)
    assert not all(np.array_equal(a, b) for a, b in zip(first_two(1), first_two(2), strict=True))


def test_the_cache_keeps_its_bound_and_changes_nothing(on_disk: list[Picture]) -> None:
    small = PairedBatches(on_disk, pairs=20, crop=48, cache_bytes=50_000)
    large = PairedBatches(on_disk, pairs=20, crop=48)
    pairs = zip(next(iter(small)).images, next(iter(large)).images, strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert sum(rgb.nbytes for rgb in small._cache.values()) <= 50_000


def test_a_missing_class_is_refused(on_disk: list[Picture]) -> None:
    with pytest.raises(LayoutError, match="one of the classes is missing"):
        next(iter(PairedBatches([one for one in on_disk if one.label], pairs=2)))


def test_pictures_are_read_upright_and_on_white(tmp_path: Path) -> None:
    lying = tmp_path / "lying.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn by 90 degrees clockwise
    Image.new("RGB", (60, 40)).save(lying, exif=exif)
    glass = tmp_path / "glass.png"
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(glass)
    base = Picture(lying, 0, "", "", "x", "g")
    assert load(base).shape == (60, 40, 3)
    assert (load(replace(base, path=glass)) == 255).all()
    assert load_at(base, 128).shape == (192, 128, 3)
