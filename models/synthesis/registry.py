"""Which generators there are, and which family each belongs to."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from models.synthesis.base import Generator, SynthesisError

Maker = Callable[[Sequence[Path]], Generator]

# Generator -> family. Families, not generators, are held out: see facts on transfer in docs/detectors.md.
FAMILIES = {
    "taef2": "latent_autoencoder",
    "taef2_noise": "latent_autoencoder",
    "taef2_coarse": "latent_autoencoder",
    "srvgg": "super_resolution",
    "realesrgan": "super_resolution",
    "waifu2x": "super_resolution",
    "cugan": "super_resolution",
    "style26": "style",
    "dcgan_face64": "gan_noise",
    "subpixel": "upsampler",
    "nearest_conv": "upsampler",
    "self_blend": "face_blend",
    "sd1": "text_to_image",
    "sd3_portraits": "text_to_image",
}


def family_of(generator: str) -> str:
    """The family of a known generator; an unknown one is a family of its own."""
    return FAMILIES.get(generator, generator)


def make(name: str, folders: Sequence[Path] = ()) -> Generator:
    """Load one generator. Weights that no installed package carries are looked for below `folders`.

    Each generator's package is imported only when it is asked for: they are heavy and optional.
    Raises SynthesisError.
    """
    if name not in _MAKERS:
        raise SynthesisError(f"{name!r} is no generator; there are {', '.join(_MAKERS)}")
    return _MAKERS[name](folders)


def _find(file: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    looked = ", ".join(str(folder) for folder in folders) or "no folder"
    raise SynthesisError(f"the weights {file} are in none of the given folders ({looked})")


def _taef2(variant: Literal["plain", "noise", "coarse"]) -> Maker:
    def build(folders: Sequence[Path]) -> Generator:
        from models.synthesis.taef2 import Taef2

        halves = {half: _find(f"taef2/taef2_{half}.pth", folders) for half in ("encoder", "decoder")}
        return Taef2(halves["encoder"], halves["decoder"], variant)

    return build


def _super_resolution(name: str) -> Maker:
    def build(_: Sequence[Path]) -> Generator:
        from models.synthesis.super_resolution import SuperResolution

        return SuperResolution(name)

    return build


def _style(_: Sequence[Path]) -> Generator:
    from models.synthesis.style import Style

    return Style()


def _dcgan(folders: Sequence[Path]) -> Generator:
    from models.synthesis.gan import DcganFace

    return DcganFace(_find("dcgan_face64/weights.tar", folders))


def _subpixel(_: Sequence[Path]) -> Generator:
    from models.synthesis.upsampler import SubPixel

    return SubPixel()


def _nearest_conv(_: Sequence[Path]) -> Generator:
    from models.synthesis.upsampler import NearestConv

    return NearestConv()


def _self_blend(_: Sequence[Path]) -> Generator:
    from models.synthesis.self_blend import SelfBlend

    return SelfBlend()


_MAKERS: dict[str, Maker] = {
    "taef2": _taef2("plain"),
    "taef2_noise": _taef2("noise"),
    "taef2_coarse": _taef2("coarse"),
    **{name: _super_resolution(name) for name in ("srvgg", "realesrgan", "waifu2x", "cugan")},
    "style26": _style,
    "dcgan_face64": _dcgan,
    "subpixel": _subpixel,
    "nearest_conv": _nearest_conv,
    "self_blend": _self_blend,
}
