"""What fuzzing found once stays mended, and the fuzzer finds what there is to find."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.damage import with_checksums
from tests.fuzz.targets import TARGETS
from tests.hostile.sound import sound_files

CASES = sorted(path for path in (Path(__file__).parent / "cases").rglob("*") if path.is_file())


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_before_holds(path: Path) -> None:
    TARGETS[path.parent.name].check(path.read_bytes())


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_seeds_hold(name: str) -> None:
    for data in TARGETS[name].seeds():
        TARGETS[name].check(data)


def test_checksums_are_made_right_again() -> None:
    sound = sound_files()["PNG 16-bit grey"]
    broken = bytearray(sound)
    broken[29] ^= 0xFF  # the header's own checksum
    assert with_checksums(bytes(broken)) == sound
    assert with_checksums(sound[:100])[:33] == sound[:33]
    assert with_checksums(b"GIF89a") == b"GIF89a"


def test_a_defect_is_found_and_its_input_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="Atheris has wheels for Linux on x86_64 only")
    result, told = fuzz("planted", 100, 1, tmp_path)
    (finding,) = result.findings
    assert Path(finding).read_bytes().startswith(b"fuz")
    assert "ValueError: planted" in told
