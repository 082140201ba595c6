"""The demonstration's pictures are there, are what their labels say, and are many enough."""

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from stream.demo_pictures import Picture, hostile_files, in_turn, packaged_pictures, pictures_below, spread
from stream.errors import ConfigError


def decoded(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def test_there_are_enough_different_real_and_ai_pictures() -> None:
    pictures = packaged_pictures()
    assert sum(picture.label == "real" for picture in pictures) >= 25
    assert sum(picture.label == "ai" for picture in pictures) >= 40
    assert len({hashlib.sha256(picture.data).digest() for picture in pictures}) == len(pictures)
    assert len({picture.name for picture in pictures}) == len(pictures)


def test_every_picture_decodes_and_is_a_still() -> None:
    for picture in packaged_pictures():
        still = decoded(picture.data)
        assert getattr(still, "n_frames", 1) == 1, picture.name
        assert min(still.size) >= 224, picture.name


def test_any_beginning_is_mixed() -> None:
    labels = [picture.label for picture in packaged_pictures()[:20]]
    assert labels.count("real") == labels.count("ai") == 10


def test_a_missing_package_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"need the package scikit-image: run `make env`"):
        packaged_pictures()


def test_own_pictures_are_labelled_by_their_folders(tmp_path: Path) -> None:
    for name in ("real/a.jpg", "Fake/deep/b.PNG", "c.webp", "ai/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"bytes")
    found = {picture.name: picture.label for picture in pictures_below(tmp_path)}
    assert found == {"real/a.jpg": "real", "Fake/deep/b.PNG": "ai", "c.webp": None}


def test_a_folder_without_pictures_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no pictures below"):
        pictures_below(tmp_path)


def test_hostile_files_are_spread_and_none_is_lost() -> None:
    pictures = [Picture(str(number), b"", None, "") for number in range(10)]
    for count in (0, 3, 10):
        mixed = spread(pictures[:count], hostile_files())
        assert len(mixed) == count + len(hostile_files())
        assert [picture for picture in mixed if picture in pictures] == pictures[:count]


def test_lists_of_unequal_length_are_taken_in_turn() -> None:
    a, b, c = (Picture(name, b"", None, "") for name in "abc")
    assert in_turn([a, c], [b]) == [a, b, c]


def test_the_bomb_is_small_and_claims_much() -> None:
    [bomb] = [file for file in hostile_files() if file.name == "hostile/bomb.png"]
    assert len(bomb.data) < 1000
    with pytest.raises(Image.DecompressionBombError, match="900000000 pixels"):
        Image.open(io.BytesIO(bomb.data))
