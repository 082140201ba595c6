"""Small pictures of every format that is read, and files that are none."""

from dataclasses import dataclass

from tests.unit.picture_files import every_format

_ROUNDS = 2  # pictures of each kind


@dataclass(frozen=True, slots=True)
class Picture:
    """One file. `judged`: it decodes, so it gets a score."""

    name: str
    data: bytes
    judged: bool


def pictures() -> list[Picture]:
    """About forty different files, the same at every call."""
    sound = [
        Picture(f"{kind.replace(' ', '-').lower()}-{seed}", data, judged=True)
        for seed in range(_ROUNDS)
        for kind, data in every_format(seed).items()
    ]
    return [*sound, *_broken(sound)]


def _broken(sound: list[Picture]) -> list[Picture]:
    jpeg, png = (next(one for one in sound if one.name == f"{kind}-0").data for kind in ("jpeg", "png"))
    files = {
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "corrupt.png": png[:60] + bytes(byte ^ 0x5A for byte in png[60:]),
        "text.png": b"this is no picture",
        "page.pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    }
    return [Picture(name, data, judged=False) for name, data in files.items()]
