"""The contract between training and serving: what a bundle says about its ensemble. No torch here."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

BUNDLE_SCHEMA: Final = "pixassay.bundle/1"
# Version of models/views.py: raised whenever the pixels of a view change for the same picture.
VIEWS_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ViewSpec(_Frozen):
    """One picture-to-array rule. The array is uint8 RGB [size, size, 3]; normalisation is in the graph.

    `global`: short side to `resize` (default: `size`), centre crop of `size`; bicubic unless `resample`
    says otherwise. With the fit `squash`, both sides to `resize`, whatever the picture's shape.
    `mosaic`: DGS-Net's mosaic of `tile`-pixel tiles with the lowest and highest spectral entropy.
    `crops`: a grid of native `tile`-pixel crops, side by side in one array.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: Literal["global", "mosaic", "crops"]
    size: int = Field(ge=16, le=1024)
    tile: int = Field(default=32, ge=8, le=512)
    # Larger pictures are brought to this short side first (bicubic), so that what is served has the scale
    # of what was trained on. None: native pixels, whatever their number.
    max_short_side: int | None = Field(default=None, ge=32)
    # `global` only: what detectors of other people were trained on (440 for 384: Community Forensics).
    resize: int | None = Field(default=None, ge=16, le=2048)
    resample: Literal["bicubic", "bilinear"] = "bicubic"
    fit: Literal["crop", "squash"] = "crop"
    # `global` only: of the surest face instead of the whole picture, where one is large enough
    # (models/faces.py). A detector of face forgeries reads such a view.
    face: bool = False
    # The graph reads the residual of the array in its place (models/ensemble.py): traces without content.
    residual: bool = False

    @model_validator(mode="after")
    def _tiled(self) -> "ViewSpec":
        if self.kind != "global" and self.size % self.tile:
            raise ValueError(f"view {self.name}: size {self.size} is no multiple of tile {self.tile}")
        others = (self.resize, self.resample, self.fit) != (None, "bicubic", "crop")
        if self.kind != "global" and others:
            raise ValueError(f"view {self.name}: resize, resample and fit are for views of the kind global")
        if self.kind != "global" and self.face:
            raise ValueError(f"view {self.name}: faces are for views of the kind global")
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"view {self.name}: resize {self.resize} leaves less than its size {self.size}")
        return self


class DetectorSpec(_Frozen):
    """One column of the logits, with the Platt line that turns it into a log-odds."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")  # "pin_clip", "dgs_net", "masm", "probe", ...
    view: str
    slope: float  # calibrated logit = slope * logit + intercept
    intercept: float
    weight: float = Field(ge=0)  # in the fusion, on the calibrated logit (non-negative stacking)
    # Slope and intercept of its own for pictures whose view shows a face; None: the same as for all others.
    face_line: tuple[float, float] | None = None


class PolicySpec(_Frozen):
    """Thresholds on the fused score, and where they come from."""

    id: str = Field(min_length=1)
    suspicious: float = Field(ge=0, le=1)
    synthetic: float = Field(ge=0, le=1)
    basis: str  # in words: the false-positive rate aimed at, and the photographs that it was set on
    # A picture whose detectors' log-odds lie at least this far apart is suspicious. None: any distance.
    disagreement: float | None = Field(default=None, gt=0)
    # What would be flagged is scored again on a copy saved as JPEG of this quality; the lower score counts.
    recheck: int | None = Field(default=None, ge=50, le=100)

    @model_validator(mode="after")
    def _ordered(self) -> "PolicySpec":
        if self.suspicious > self.synthetic:
            raise ValueError("the suspicious threshold is above the synthetic one")
        return self


class Quantisation(_Frozen):
    """Says that the graph computes its products in 8 bits, of what bundle it was made, and at what cost.

    Each AUC is the mean over the generators of the pictures: of the float graph, then of this one.
    """

    precision: Literal["int8", "fp8"] = "int8"
    source: str  # id of the float bundle
    calibration_pictures: int = Field(ge=1)  # whose activations set the ranges
    pictures: int = Field(ge=2)  # of the gate; neither trained nor calibrated on
    max_auc_loss: float = Field(ge=0)  # of any detector and of the score
    auc: dict[str, tuple[float, float]]  # detector -> AUC of its logit
    score_auc: tuple[float, float]  # of the fused score, by the calibration of the float bundle
    largest_drift: float = Field(ge=0, le=1)  # of a picture's fused score


class Manifest(_Frozen):
    """manifest.json of a bundle."""

    schema_: Literal["pixassay.bundle/1"] = Field(default=BUNDLE_SCHEMA, alias="schema")
    name: str = Field(min_length=1)
    tower: str
    views_version: int
    views: tuple[ViewSpec, ...] = Field(min_length=1)
    detectors: tuple[DetectorSpec, ...] = Field(min_length=1)
    fusion_bias: float
    policy: PolicySpec
    golden_tolerance: dict[str, float]  # precision -> largest allowed difference of a golden logit
    training: dict[str, Any]  # data, recipe, seed, versions
    metrics: dict[str, Any]
    licences: dict[str, str]
    files: dict[str, str]  # file name -> sha256 hex, every file of the bundle but the manifest
    quantisation: Quantisation | None = None  # None: the graph computes in floating point

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        views = {view.name: view for view in self.views}
        for detector in self.detectors:
            if detector.view not in views:
                raise ValueError(f"detector {detector.name} reads the unknown view {detector.view}")
            if detector.face_line is not None and not views[detector.view].face:
                raise ValueError(f"detector {detector.name} has a line for faces, but its view shows none")
        if self.views_version != VIEWS_VERSION:
            raise ValueError(f"made for views version {self.views_version}, this is {VIEWS_VERSION}")
        return self
