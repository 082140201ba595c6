"""Each published folder layout is told apart and read as its authors mean it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.layouts import LayoutError, Picture, scan


def _tree(root: Path, *paths: str) -> Path:
    for path in paths:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(place)
    return root


def _facts(pictures: list[Picture]) -> set[tuple[int, str, str, str]]:
    return {(one.label, one.generator, one.source, one.group) for one in pictures}


def test_plain_folders_pair_equal_stems(tmp_path: Path) -> None:
    root = _tree(tmp_path, "real/phone/a.png", "real/b.png", "fake/taef2/a.png", "fake/somebody/c.png")
    pictures = scan(root)
    assert _facts(pictures) == {
        (0, "", "phone", "a"),
        (0, "", "real", "b"),
        (1, "taef2", "taef2", "a"),
        (1, "somebody", "somebody", "c"),
    }
    families = {one.generator: one.family for one in pictures if one.label}
    assert families == {"taef2": "latent_autoencoder", "somebody": "somebody"}


def test_genimage(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        "ADM/imagenet_ai_0508_adm/train/ai/1.PNG",
        "ADM/imagenet_ai_0508_adm/train/nature/n01_1.JPEG",
        "BigGAN/imagenet_ai_0419_biggan/val/ai/2.png",
    )
    assert _facts(scan(root)) == {
        (0, "", "imagenet", "imagenet/n01_1"),
        (1, "ADM", "ADM", "ADM/1"),
        (1, "BigGAN", "BigGAN", "BigGAN/2"),
    }


def test_forensynths_with_and_without_class_folders(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        "test/progan/airplane/0_real/1.png",
        "test/progan/airplane/1_fake/1.png",
        "test/stylegan/1_fake/9.png",
    )
    assert _facts(scan(root)) == {
        (0, "", "progan_real", "progan/airplane/real/1"),
        (1, "progan", "progan", "progan/airplane/fake/1"),
        (1, "stylegan", "stylegan", "stylegan/fake/9"),
    }


def test_aigibench_trains_on_categories_of_progan_and_is_tested_by_generator(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        "train/car/0_real/1.png",
        "train/car/1_fake/1.png",
        "train/sdv1.4/0_real/n01_2.JPEG",
        "train/sdv1.4/1_fake/2.png",
        "val/horse/1_fake/3.png",
        "test/R3GAN/0_real/4.png",
        "test/SocialRF/1_fake/5.jpg",
    )
    assert _facts(scan(root)) == {
        (0, "", "progan_real", "progan/car/real/1"),
        (1, "progan", "progan", "progan/car/fake/1"),
        (0, "", "sdv1.4_real", "sdv1.4/real/n01_2"),
        (1, "sdv1.4", "sdv1.4", "sdv1.4/fake/2"),
        (1, "progan", "progan", "progan/horse/fake/3"),
        (0, "", "R3GAN_real", "R3GAN/real/4"),
        (1, "SocialRF", "SocialRF", "SocialRF/fake/5"),
    }
    assert {one.generator for one in scan(root / "train") if one.label} == {"progan", "sdv1.4"}


def test_aigcdetectbenchmark_mixes_generators_with_and_without_categories(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        "progan/train/0_real/1.png",  # a category of LSUN, not a split
        "progan/train/1_fake/1.png",
        "whichfaceisreal/0_real/2.jpeg",
        "stable_diffusion_v_1_4/1_fake/3.png",
        "DALLE2/1_fake/4.webp",
    )
    assert _facts(scan(root)) == {
        (0, "", "progan_real", "progan/train/real/1"),
        (1, "progan", "progan", "progan/train/fake/1"),
        (0, "", "whichfaceisreal_real", "whichfaceisreal/real/2"),
        (1, "stable_diffusion_v_1_4", "stable_diffusion_v_1_4", "stable_diffusion_v_1_4/fake/3"),
        (1, "DALLE2", "DALLE2", "DALLE2/fake/4"),
    }


def test_deepfakebench_keeps_a_forged_video_with_its_target(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        "FaceForensics++/original_sequences/youtube/c23/frames/000/001.png",
        "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003/001.png",
    )
    assert _facts(scan(root)) == {
        (0, "", "youtube", "FaceForensics++/000"),
        (1, "Deepfakes", "Deepfakes", "FaceForensics++/000"),
    }


def test_hidden_files_and_other_files_are_left_out(tmp_path: Path) -> None:
    root = _tree(tmp_path, "real/a.png", "real/.b.png", "fake/g/a.png")
    (root / "real" / "notes.txt").write_text("not a picture")
    assert len(scan(root)) == 2


@pytest.mark.parametrize("paths", [("a.png",), ("real/a.png", "fake/readme.txt.png/x"), ("0_real/a.png",)])
def test_a_folder_without_both_classes_is_refused_with_the_known_layouts(
    tmp_path: Path, paths: tuple[str, ...]
) -> None:
    _tree(tmp_path, *(path for path in paths if path.endswith(".png")))
    with pytest.raises(LayoutError, match="GenImage"):
        scan(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="is not a folder"):
        scan(tmp_path / "nowhere")
