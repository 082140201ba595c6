"""What a detector of other people does to a picture before its network sees it, as a view of ours."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from pydantic import ValidationError

from models.spec import ViewSpec
from models.towers.weights import WeightsError

RGB = tuple[float, float, float]
Resample = Literal["bicubic", "bilinear"]
# crop: short side resized, centre cropped; squash: both sides resized; native: centre cropped as it is;
# mosaic: DGS-Net's.
Fit = Literal["crop", "squash", "native", "mosaic"]
IMAGENET: tuple[RGB, RGB] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP: tuple[RGB, RGB] = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PILLOW: dict[int, Resample] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, which transformers stores


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resized to `resize`, central `size` pixels, (x / 255 - mean) / std per channel."""

    size: int
    resize: int
    mean: RGB
    std: RGB
    resample: Resample = "bicubic"
    fit: Fit = "crop"
    face: bool = False  # of the face alone, where there is one large enough

    def view(self) -> ViewSpec:
        """The view that makes these pixels; normalisation is the graph's affair. Raises WeightsError."""
        try:
            return self._view()
        except ValidationError as error:
            raise WeightsError(f"these pixels are not supported: {error.errors()[0]['msg']}") from error

    def _view(self) -> ViewSpec:
        if self.fit == "mosaic":
            return ViewSpec(name="mosaic", kind="mosaic", size=self.size, face=self.face)
        if self.fit == "native":
            return ViewSpec(name="centre", kind="crops", size=self.size, tile=self.size, face=self.face)
        resize = None if self.resize == self.size else self.resize
        return ViewSpec(
            name="face" if self.face else "squashed" if self.fit == "squash" else "whole",
            kind="global",
            size=self.size,
            resize=resize,
            resample=self.resample,
            fit=self.fit,
            face=self.face,
        )


@dataclass(frozen=True, slots=True)
class Given:
    """What the user stated; it goes before what a file says."""

    size: int | None = None
    resize: int | None = None
    mean: RGB | None = None
    std: RGB | None = None
    resample: Resample | None = None
    fit: Fit | None = None
    face: bool | None = None

    def over(self, found: Preprocessing) -> Preprocessing:
        """`found` with what was stated. A size that is stated alone is resized to as well."""
        stated = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        if "size" in stated:
            stated.setdefault("resize", stated["size"])
        if "resize" in stated and found.fit in ("native", "mosaic"):
            stated.setdefault("fit", "crop")
        return replace(found, **stated)

    def view_over(self, where: str, found: Preprocessing) -> Preprocessing:
        """`over` for a network whose size and normalisation are known. Raises WeightsError."""
        if (self.size, self.mean, self.std) != (None, None, None):
            raise WeightsError(
                f"{where} has the size and the normalisation of the published code: leave --size, --mean and "
                "--std out (--resize, --resample, --fit and --face may be stated)"
            )
        return self.over(found)

    def whole(self, where: str) -> Preprocessing:
        """For files that say nothing themselves. Raises WeightsError naming what has to be stated."""
        if self.size is None or self.mean is None or self.std is None:
            stated = {"--size": self.size, "--mean": self.mean, "--std": self.std}
            missing = ", ".join(option for option, value in stated.items() if value is None)
            raise WeightsError(
                f"{where} does not say how its pictures were prepared: state {missing} (mean and std of "
                "pixels in 0..1, like 0.485,0.456,0.406)"
            )
        return self.over(Preprocessing(self.size, self.size, self.mean, self.std))


def of_timm(config: dict[str, Any]) -> Preprocessing:
    """From timm's data configuration (`timm.data.resolve_data_config`)."""
    size = int(config["input_size"][-1])
    return Preprocessing(
        size=size,
        resize=int(size / config["crop_pct"]),
        mean=_rgb(config["mean"]),
        std=_rgb(config["std"]),
        resample="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        fit="squash" if config.get("crop_mode") == "squash" else "crop",
    )


def of_transformers(where: str, config: dict[str, Any]) -> Preprocessing:
    """From a preprocessor_config.json of transformers. Raises WeightsError where it cannot be followed."""
    if not config.get("do_rescale", True) or abs(config.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3:
        raise WeightsError(
            f"{where}: pixels that are not scaled to 0..1 are not supported: export it to ONNX"
        )
    size, resize, fit = _geometry(where, config)
    number = config.get("resample", 2)
    if number not in PILLOW:
        raise WeightsError(f"{where}: resample is {number}, where 2 (bilinear) or 3 (bicubic) was expected")
    plain = not config.get("do_normalize", True)
    return Preprocessing(
        size=size,
        resize=resize,
        mean=(0.0, 0.0, 0.0) if plain else _rgb(config["image_mean"]),
        std=(1.0, 1.0, 1.0) if plain else _rgb(config["image_std"]),
        resample=PILLOW[number],
        fit=fit,
    )


def _geometry(where: str, config: dict[str, Any]) -> tuple[int, int, Fit]:
    """Size, resize and fit."""
    size, crops = config.get("size"), bool(config.get("do_center_crop", False))
    short = size.get("shortest_edge") if isinstance(size, dict) else None
    crop = _square(where, config.get("crop_size")) if crops else None
    if not config.get("do_resize", True):
        if crop is None:
            raise WeightsError(f"{where} neither resizes nor crops: export it to ONNX and state --size")
        return crop, crop, "native"
    if short is None:
        side = _square(where, size)
        return crop or side, side, "squash"
    if "crop_pct" in config:  # ConvNeXt: below 384 pixels cropped out of a larger one, squashed from there on
        large = short >= 384
        return short, short if large else int(short / config["crop_pct"]), "squash" if large else "crop"
    if crop is None:
        raise WeightsError(f"{where} gives pictures that are not square: export it to ONNX and state --size")
    return crop, int(short), "crop"


def _square(where: str, size: Any) -> int:
    """One side in pixels, from any of the forms that transformers stores."""
    if isinstance(size, int):
        return size
    if isinstance(size, dict) and size.get("height") == size.get("width") is not None:
        return int(size["height"])
    raise WeightsError(f"{where}: a square size was expected, not {size}: export it to ONNX and state --size")


def _rgb(values: Any) -> RGB:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
