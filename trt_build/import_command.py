"""`pixassay model import`: detectors of other people."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.console import Console

from models.bundle import Bundle, load_bundle

if TYPE_CHECKING:
    from models.importing.kinds import Request

KindOption = Literal[
    "auto", "bundle", "dgs-net", "effort", "univfd", "community-forensics", "timm", "transformers", "onnx"
]
DEFAULT_NAMES = {"dgs-net": "dgs_net", "community-forensics": "forensics", "transformers": "imported"}


def import_model(
    source: Annotated[
        Path, typer.Argument(exists=True, help="weights file, ONNX file, folder as on the hub, or a bundle")
    ],
    out: Annotated[Path, typer.Option(help="bundle folder to write")],
    kind: Annotated[KindOption, typer.Option(help="what it is; auto: by its names")] = "auto",
    into: Annotated[
        Path | None, typer.Option(help="bundle that gets one more detector; it stays as it is")
    ] = None,
    name: Annotated[str | None, typer.Option(help="of the detector, like its_name")] = None,
    licence: Annotated[str | None, typer.Option(help="of the weights, for the manifest")] = None,
    clip_weights: Annotated[
        Path | None, typer.Option(exists=True, help="CLIP that it was made from (UnivFD; DGS-Net sometimes)")
    ] = None,
    timm: Annotated[str | None, typer.Option(help="timm's name of the network")] = None,
    size: Annotated[int | None, typer.Option(min=16, max=1024, help="side of its pictures")] = None,
    resize: Annotated[int | None, typer.Option(help="side before the centre crop")] = None,
    mean: Annotated[str | None, typer.Option(help="of pixels in 0..1, like 0.485,0.456,0.406")] = None,
    std: Annotated[str | None, typer.Option(help="of pixels in 0..1, like 0.229,0.224,0.225")] = None,
    resample: Annotated[Literal["bicubic", "bilinear"] | None, typer.Option()] = None,
    fit: Annotated[
        Literal["crop", "squash", "native"] | None,
        typer.Option(help="short side resized and cropped; both sides resized; or cropped as it is"),
    ] = None,
    face: Annotated[
        bool | None,
        typer.Option("--face/--no-face", help="of the face alone where there is one", show_default="Effort"),
    ] = None,
    synthetic_index: Annotated[
        int | None, typer.Option(min=0, max=1, help="output that says synthetic; one output, 0: high is real")
    ] = None,
    lora_scale: Annotated[float | None, typer.Option(help="DGS-Net: instead of 6 / sqrt(rank)")] = None,
    half: Annotated[bool, typer.Option(help="store large weights as float16")] = False,
    tower_out: Annotated[
        Path | None, typer.Option(help="also write its CLIP tower, for `pixassay model train --weights`")
    ] = None,
) -> None:
    """Turn a detector of somebody else into a bundle, or add it to one; calibrate it next."""
    from models.importing.kinds import Request
    from models.importing.preprocessing import Given

    if name and not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise typer.BadParameter("lower-case letters, digits and _, like its_name", param_hint="--name")
    given = Given(size, resize, _rgb("--mean", mean), _rgb("--std", std), resample, fit, face)
    request = Request(source, given, clip_weights, lora_scale, timm, synthetic_index)
    base = load_bundle(into) if into else None
    _run(request, kind, base, Output(out, name, licence, half, tower_out))


@dataclass(frozen=True, slots=True)
class Output:
    """What is to be written."""

    folder: Path
    name: str | None
    licence: str | None
    half: bool
    tower: Path | None


def _run(request: "Request", kind: KindOption, base: Bundle | None, output: Output) -> None:
    from models.importing.kinds import kind_of
    from models.importing.start import write_tower
    from models.towers.weights import WeightsError
    from trt_build.importing import add_imported, entry, write_imported
    from trt_build.member import make_member
    from trt_build.merge import MergeError
    from trt_build.pack import ExportError

    out = output.folder
    try:
        found = kind_of(request) if kind == "auto" else kind
        if output.tower:
            write_tower(request, found, output.tower)
        member = make_member(request, found, half=output.half)
        entered = entry(request, member, output.name or DEFAULT_NAMES.get(found, found), output.licence)
        bundle = add_imported(base, member, entered, out) if base else write_imported(member, entered, out)
    except (WeightsError, MergeError, ExportError) as error:
        _fail(str(error))
    _report(f"{out}: bundle {bundle.id}, {entered.name} from {request.path} ({found})")
    _report(f"licence: {entered.licence}")
    share = "its weight is 0 until then" if base else "its scores are raw logits until then"
    _report(f"not calibrated yet: pixassay model calibrate {out} --data FOLDER; {share}")


def _rgb(option: str, text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not three numbers, like 0.5,0.5,0.5", param_hint=option
        ) from error
    return red, green, blue


def _report(line: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(line, markup=False)


def _fail(message: str) -> NoReturn:
    _report(f"pixassay: {message}")
    raise typer.Exit(1)
