"""Which generators there are, and which family each belongs to."""

from collections.abc import Callable
from pathlib import Path

from models.synthesis.base import Generator, SynthesisError

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


def make(name: str, *, taef2: Path | None = None) -> Generator:
    """Load one generator. `taef2` is the folder with that autoencoder's weights. Raises SynthesisError.

    Each generator's package is imported only when it is asked for: they are heavy and optional.
    """
    if name.startswith("taef2"):
        return _taef2(name, taef2)
    if name not in _MAKERS:
        raise SynthesisError(f"{name!r} is no generator; there are {', '.join([*_MAKERS, 'taef2...'])}")
    return _MAKERS[name]()


def _taef2(name: str, folder: Path | None) -> Generator:
    from models.synthesis.taef2 import Taef2

    if folder is None:
        raise SynthesisError(f"{name} needs the folder with the taef2 weights (--taef2)")
    match name:
        case "taef2":
            return Taef2(folder)
        case "taef2_noise":
            return Taef2(folder, "noise")
        case "taef2_coarse":
            return Taef2(folder, "coarse")
    raise SynthesisError(f"{name!r} is no generator; taef2 has the variants taef2_noise and taef2_coarse")


def _super_resolution(name: str) -> Callable[[], Generator]:
    def build() -> Generator:
        from models.synthesis.super_resolution import SuperResolution

        return SuperResolution(name)

    return build


def _style() -> Generator:
    from models.synthesis.style import Style

    return Style()


def _dcgan() -> Generator:
    from models.synthesis.gan import DcganFace

    return DcganFace()


def _subpixel() -> Generator:
    from models.synthesis.upsampler import SubPixel

    return SubPixel()


def _nearest_conv() -> Generator:
    from models.synthesis.upsampler import NearestConv

    return NearestConv()


def _self_blend() -> Generator:
    from models.synthesis.self_blend import SelfBlend

    return SelfBlend()


_MAKERS: dict[str, Callable[[], Generator]] = {
    **{name: _super_resolution(name) for name in ("srvgg", "realesrgan", "waifu2x", "cugan")},
    "style26": _style,
    "dcgan_face64": _dcgan,
    "subpixel": _subpixel,
    "nearest_conv": _nearest_conv,
    "self_blend": _self_blend,
}
