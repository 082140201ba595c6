"""`pixassay engine ...`, and `pixassay model export`: what needs both the detectors and an exporter."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from models.bundle import BUNDLED, CARD, Bundle, load_bundle
from models.cli import app as model
from models.engine_file import ENGINES, EngineFileError, Precision
from trt_build.import_command import import_model
from trt_build.quantise_command import quantise

app = typer.Typer(no_args_is_help=True)
model.command("import")(import_model)


@app.callback()
def engine() -> None:
    """Build, verify and check engines; quantise bundles."""
    if find_spec("onnx") is None:
        _fail("`pixassay engine` needs onnx, which is in the `gpu`, `check` and `train` extras", 2)


app.command("quantise")(quantise)
BundleArgument = Annotated[Path, typer.Argument(help="bundle folder")]
PrecisionOption = Annotated[Precision, typer.Option(help="type that the engine computes in")]
EnginesOption = Annotated[
    Path, typer.Option(envvar="PIXASSAY_ENGINES", help="folder of built engines", show_default=str(ENGINES))
]


@app.command()
def build(
    bundle: BundleArgument = BUNDLED,
    precision: PrecisionOption = "f16",
    batches: Annotated[str, typer.Option(help="batch buckets, comma-separated")] = "1,8,32,64",
    slots: Annotated[int, typer.Option(min=1, max=4, help="batches that may be under way at once")] = 2,
    engines: EnginesOption = ENGINES,
) -> None:
    """Build the TensorRT engine for this machine's GPU, unless one that fits is there; check it."""
    from trt_build.build import BadEngine, build_engine
    from trt_build.machine import LocalMachine, NoMachine
    from trt_build.network import CompileFault

    loaded, folder, buckets = load_bundle(bundle), engines.expanduser(), _batches(batches)
    try:
        built = build_engine(loaded, folder, LocalMachine(folder), precision, buckets, slots)
    except NoMachine as error:
        _fail(f"no engine was built: it is built on the GPU that will run it, and {error}", 2)
    except (BadEngine, CompileFault) as error:
        _fail(f"no engine was built: {error}")
    done = "is up to date" if built.reused else f"was built in {built.sidecar.build_s:.0f} s"
    Console(soft_wrap=True).print(f"{built.path} {done}; golden logits within {built.golden_error:.1e}")


@app.command()
def verify(bundle: BundleArgument = BUNDLED, engines: EnginesOption = ENGINES) -> None:
    """Hold the graph, and the TensorRT engine where there is one, against the golden logits of torch."""
    from trt_build.build import BadEngine

    loaded, out = load_bundle(bundle), Console(soft_wrap=True)
    wrong = False
    if find_spec("onnxruntime") is None:  # a GPU worker has no need of it
        out.print("graph: not looked at: onnxruntime is not installed")
    else:
        from trt_build.verify import golden_difference, tolerance

        difference, origin = golden_difference(loaded), "itself" if loaded.manifest.quantisation else "torch"
        wrong = not difference <= tolerance(loaded)
        verdict = "does NOT agree" if wrong else "agrees"
        out.print(f"{loaded.manifest.name} {loaded.id} {verdict} with {origin}: {difference:.1e} at most")
    try:
        out.print(_verify_engine(loaded, engines.expanduser()))
    except BadEngine as error:
        out.print(f"TensorRT engine: NOT accepted: {error}")
        wrong = True
    if wrong:
        raise typer.Exit(1)


@app.command()
def check(
    bundle: BundleArgument = BUNDLED,
    precision: PrecisionOption = "f16",
    blocks: Annotated[
        int, typer.Option(min=0, max=24, help="blocks of the ViT-L/14 ensemble; 0 leaves it out")
    ] = 24,
) -> None:
    """Compile the bundle's graph and a ViT-L/14 ensemble of random weights for TensorRT, without a GPU."""
    import onnx

    from trt_build.compile_check import TARGETS, compile_check, large_ensemble
    from trt_build.graph_file import read_graph
    from trt_build.network import CompileFault

    loaded, out = load_bundle(bundle), Console(soft_wrap=True)
    subjects: dict[str, Callable[[], onnx.ModelProto]] = {
        f"{loaded.manifest.name} {loaded.id}": lambda: read_graph(loaded.onnx)
    }
    if blocks and find_spec("torch") is None:
        _fail("the ViT-L/14 ensemble is made with torch: install the `train` extra, or pass --blocks 0", 2)
    if blocks:
        subjects[f"ViT-L/14, {blocks} blocks, random weights"] = lambda: large_ensemble(blocks)
    for subject, make in subjects.items():
        try:
            done = compile_check(make(), precision)
        except CompileFault as error:
            _fail(f"{subject} in {precision}: {error}")
        out.print(
            f"{subject} in {precision}: {done.nodes} nodes compile for {', '.join(done.targets)} "
            f"in {done.seconds:.0f} s, {done.plan_bytes / 1e6:.0f} MB"
        )
        for target in TARGETS:
            if target not in done.targets:
                out.print(f"  {target} was left out: the graph is FP8, which begins with SM89")
        for warning in done.warnings:
            out.print(f"  warning: {warning}", markup=False)


@model.command()
def export(
    run: Annotated[Path, typer.Argument(help="run folder of `pixassay model train`")],
    out: Annotated[Path, typer.Argument(help="bundle folder to write")],
    name: Annotated[str, typer.Option(help="name of the bundle")] = "default",
    card: Annotated[Path | None, typer.Option(help="model card (Markdown) to put in")] = None,
    licence: Annotated[
        str | None, typer.Option(help="of the tower's weights, where they are yours, for the manifest")
    ] = None,
) -> None:
    """Make a bundle of a trained run: one ONNX graph, golden logits, manifest; calibrate it next."""
    from models.checkpoints import load_ensemble
    from trt_build.licences import LicenceError, licences
    from trt_build.pack import pack

    ensemble, facts = load_ensemble(run)
    try:
        known = licences(ensemble.tower.name, facts, licence)
    except LicenceError as error:
        _fail(str(error), 2)
    out.mkdir(parents=True, exist_ok=True)
    text = card.read_text(encoding="utf-8") if card else f"# {name}\n\nTrained by `pixassay model train`.\n"
    (out / CARD).write_text(text, encoding="utf-8")
    bundle = pack(ensemble, name, facts, known, out)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for weights, under in known.items():
        console.print(f"licence of {weights}: {under}", markup=False)
    console.print(f"{out}: bundle {bundle.id}, not calibrated yet: pixassay model calibrate", markup=False)


def _verify_engine(bundle: Bundle, folder: Path) -> str:
    """One sentence on this machine's engine. Raises BadEngine."""
    from trt_build.build import BadEngine, find_engine, verify_engine
    from trt_build.machine import LocalMachine, NoMachine
    from trt_build.network import CompileFault

    try:
        machine = LocalMachine(folder)
        path, sidecar = find_engine(bundle, folder, machine)
        error = verify_engine(path.read_bytes(), sidecar, bundle, machine)
    except (NoMachine, EngineFileError) as reason:
        return f"TensorRT engine: not looked at: {reason}"
    except (CompileFault, OSError) as fault:
        raise BadEngine(str(fault)) from fault
    return f"TensorRT engine: {path} agrees in {sidecar.precision}: {error:.1e} at most"


def _batches(text: str) -> list[int]:
    try:
        batches = sorted({int(part) for part in text.split(",")})
    except ValueError:
        batches = []
    if not batches or batches[0] < 1:
        raise typer.BadParameter(f"--batches takes numbers from 1 on, like 1,8,32, not {text!r}")
    return batches


def _fail(message: str, status: int = 1) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(f"pixassay: {message}", markup=False)
    raise typer.Exit(status)
