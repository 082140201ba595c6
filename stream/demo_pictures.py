"""The demonstration's pictures: real photographs and real AI pictures, as installed packages carry them.

Every picture was looked at before it was listed. Left out: drawings, posters, screenshots, pictures
with a logo laid over them, edits of photographs, videos. None was used in training. Two things to know
when reading the scores: all AI pictures are WebP, all photographs are JPEG or PNG, and most AI
pictures are 400 pixels wide, smaller than most photographs.
"""

import importlib.util
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal

from PIL import Image

from stream.errors import ConfigError

Label = Literal["real", "ai"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff"})
# Folders of the user's own pictures whose name says what is in them.
FOLDER_LABELS: dict[str, Label] = {
    **dict.fromkeys(("real", "authentic", "photos", "photographs", "0_real"), "real"),
    **dict.fromkeys(("ai", "fake", "synthetic", "generated", "1_fake"), "ai"),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One file to upload."""

    name: str  # file name, unique within the demonstration
    data: bytes
    label: Label | None  # None: unknown, or not a picture at all
    origin: str  # for people: which generator made it, or where the photograph comes from
    source: Path | None = None  # None for a file that is made up here
    own: bool = False  # the user's


# scikit-image (public domain and CC0, see skimage.data): file -> what it shows.
_SCIKIT_IMAGE = {
    "astronaut.png": "portrait",
    "brick.png": "brick wall",
    "camera.png": "photographer",
    "chelsea.png": "cat",
    "coffee.png": "cup of coffee",
    "coins.png": "coins",
    "grass.png": "grass",
    "gravel.png": "gravel",
    "hubble_deep_field.jpg": "galaxies",
    "moon.png": "the moon",
    "motorcycle_left.png": "motorcycle",
    "rocket.jpg": "rocket",
}

# foolbox (MIT), foolbox/data: file -> what it shows. One of its twenty has a caption laid over it.
_FOOLBOX = {
    "imagenet_00_243.jpg": "dog",
    "imagenet_01_559.jpg": "folding chairs",
    "imagenet_02_438.jpg": "beaker",
    "imagenet_03_990.jpg": "chestnuts",
    "imagenet_04_949.jpg": "strawberries",
    "imagenet_05_853.jpg": "thatched house",
    "imagenet_06_609.jpg": "jeep",
    "imagenet_07_609.jpg": "car on rocks",
    "imagenet_08_915.jpg": "yurt",
    "imagenet_09_455.jpg": "bottle cap",
    "imagenet_11_630.jpg": "shoe",
    "imagenet_12_741.jpg": "stained glass",
    "imagenet_13_471.jpg": "cannon",
    "imagenet_14_129.jpg": "spoonbills",
    "imagenet_15_99.jpg": "geese",
    "imagenet_16_251.jpg": "dalmatian",
    "imagenet_17_22.jpg": "eagle",
    "imagenet_18_317.jpg": "leafhopper",
    "imagenet_19_305.jpg": "beetle",
}

# Outputs of text-to-image templates of ComfyUI (MIT): file stem -> generator, as the packages' index says.
_COMFYUI = {
    "Image_capybara_v0_1_text_to_image": "Capybara",
    "api_bfl_flux3_t2i": "FLUX 3 Image",
    "api_bytedance_seedream_5_0_flash_t2i": "Seedream 5.0 Flash",
    "api_bytedance_seedream_5_0_lite_t2i": "Seedream 5.0 Lite",
    "api_grok_text_to_image": "Grok",
    "api_kling_v3_t2i": "Kling 3.0",
    "api_krea2_t2i": "Krea 2",
    "api_krea3_t2i": "Krea 3",
    "api_openrouter_mai_image_26_flash": "Mai Image 2.6 Flash",
    "api_recraft_v4_1_flash_t2i": "Recraft 4.1 Flash",
    "api_recraft_v4_1_t2i": "Recraft 4.1",
    "api_recraft_v4_t2i": "Recraft 4",
    "flux1_krea_dev": "FLUX.1 Krea Dev",
    "flux_dev_checkpoint_example": "FLUX.1 Dev fp8",
    "flux_dev_full_text_to_image": "FLUX.1 Dev",
    "flux_schnell": "FLUX.1 Schnell fp8",
    "flux_schnell_full_text_to_image": "FLUX.1 Schnell",
    "hidream_i1_dev": "HiDream I1 Dev",
    "hidream_i1_fast": "HiDream I1 Fast",
    "hidream_i1_full": "HiDream I1 Full",
    "image_boogu_image_0_1_turbo_t2i": "Boogu 0.1 Turbo",
    "image_chroma1_radiance_text_to_image": "Chroma1 Radiance",
    "image_chroma_text_to_image": "Chroma",
    "image_ernie_image_turbo": "ERNIE-Image Turbo",
    "image_flux2_klein_text_to_image": "FLUX.2 Klein 4B",
    "image_flux2_text_to_image": "FLUX.2 Dev",
    "image_flux2_text_to_image_9b": "FLUX.2 Klein 9B",
    "image_flux3_klein_distilled_t2i": "FLUX 3 Klein Distilled",
    "image_flux3_klein_t2i": "FLUX 3 Klein",
    "image_kandinsky5_t2i": "Kandinsky 5.0 Lite",
    "image_krea2_turbo_t2i_int8": "Krea 2 Turbo",
    "image_lens_t2i": "Lens",
    "image_lens_turbo_t2i": "Lens Turbo",
    "image_longcat_text_to_image": "LongCat Image",
    "image_mage_flow_t2i_int8": "Mage-Flow",
    "image_mage_flow_turbo_t2i_int8": "Mage-Flow Turbo",
    "image_minimax_h3_t2i": "MiniMax H3",
    "image_moss_image_t2i": "MOSS-Image",
    "image_omnigen2_t2i": "OmniGen2",
    "image_ovis_text_to_image": "Ovis-Image",
    "image_pixeldit_t2i": "PixelDiT",
    "image_qwen_Image_2512": "Qwen-Image 2512",
    "image_qwen_image": "Qwen-Image",
    "image_qwen_image_2512_with_2steps_lora": "Qwen-Image 2512 Turbo",
    "image_sdxl_simple": "SDXL 1.0",
    "image_z_image": "Z-Image",
    "image_z_image_int8": "Z-Image int8",
    "image_z_image_turbo": "Z-Image-Turbo",
    "image_z_image_turbo_int8": "Z-Image-Turbo int8",
    "sd3.5_simple_example": "Stable Diffusion 3.5",
    "sdxl_refiner_prompt_example": "SDXL with refiner",
    "sdxl_simple_example": "SDXL",
    "sdxlturbo_example": "SDXL Turbo",
}
_COMFYUI_PACKAGES = tuple(
    f"comfyui_workflow_templates_media_{part}" for part in ("image", "api", "assets_01", "assets_02")
)


def packaged_pictures() -> list[Picture]:
    """Photographs and AI pictures in turn. Raises ConfigError where a package or a file is missing."""
    return in_turn(list(_photographs()), list(_ai_pictures()))


def in_turn(*lists: list[Picture]) -> list[Picture]:
    """First of each list, then second of each, so that any beginning of the result is mixed."""
    return [item for item in chain.from_iterable(zip_longest(*lists)) if item is not None]


def spread(pictures: list[Picture], others: list[Picture]) -> list[Picture]:
    """`others` at even distances among the pictures."""
    mixed = list(pictures)
    for number, other in enumerate(others):
        mixed.insert((number + 1) * len(pictures) // (len(others) + 1) + number, other)
    return mixed


def pictures_below(folder: Path) -> list[Picture]:
    """The user's own pictures, by path. A folder called real or ai labels what lies in it.

    Raises ConfigError where there are none.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise ConfigError(f"there are no pictures below {folder} ({', '.join(sorted(SUFFIXES))})")
    return [_own(file, folder) for file in files]


def _own(file: Path, folder: Path) -> Picture:
    inside = file.relative_to(folder)
    labels = [FOLDER_LABELS[part.lower()] for part in inside.parts[:-1] if part.lower() in FOLDER_LABELS]
    label = labels[-1] if labels else None
    return Picture(inside.as_posix(), file.read_bytes(), label, "your picture", file, own=True)


def _photographs() -> Iterator[Picture]:
    for package, folder, title, shows in (
        ("skimage", "data", "scikit-image", _SCIKIT_IMAGE),
        ("foolbox", "data", "foolbox", _FOOLBOX),
    ):
        for name, what in shows.items():
            file = _folder(package) / folder / name
            yield Picture(f"real/{name}", _read(file), "real", f"{what} ({title})", file)


def _ai_pictures() -> Iterator[Picture]:
    folders = [_folder(package) / "templates" for package in _COMFYUI_PACKAGES]
    for stem, generator in _COMFYUI.items():
        name = f"{stem}-1.webp"
        file = next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)
        yield Picture(f"ai/{stem}.webp", _read(file), "ai", generator, file)


def _folder(package: str) -> Path:
    """Where a package is installed, without running any of its code."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        name = package.replace("skimage", "scikit-image").replace("_", "-")
        raise ConfigError(f"the demonstration's pictures need the package {name}: run `make env`")
    return Path(found.origin).parent


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the demonstration's picture {file.name} is missing ({error.strerror}): run `make env`, "
            "or use your own pictures with --images"
        ) from error


def hostile_files() -> list[Picture]:
    """What people really upload beside pictures. Each must get a verdict that says why it was not judged."""
    made = {
        "truncated.jpg": (_half(), "the first half of a JPEG"),
        "text.jpg": (b"This is a text file whose name ends in .jpg.\n", "text, renamed"),
        "empty.png": (b"", "no bytes at all"),
        "bomb.png": (_bomb(), "a small PNG that claims 900 million pixels"),
        "one-pixel.gif": (_flat("GIF", 1), "one pixel"),
        "blank.png": (_flat("PNG", 512), "one flat colour"),
    }
    return [Picture(f"hostile/{name}", data, None, what) for name, (data, what) in made.items()]


def _half() -> bytes:
    photograph = _read(_folder("skimage") / "data" / "rocket.jpg")
    return photograph[: len(photograph) // 2]


def _flat(kind: str, side: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (236, 236, 236)).save(stream, kind)
    return stream.getvalue()


def _bomb() -> bytes:
    """A PNG whose header says 30,000 x 30,000, with the pixels of a small one."""
    small = bytearray(_flat("PNG", 16))
    small[16:24] = (30_000).to_bytes(4, "big") * 2  # IHDR: width and height ...
    small[29:33] = zlib.crc32(small[12:29]).to_bytes(4, "big")  # ... and its checksum
    return bytes(small)
