"""torch -> ONNX: the whole ensemble in one graph, with a dynamic batch.

Opset 20 keeps Gelu and LayerNormalization whole and writes attention as the pattern that TensorRT
fuses; opset 23's Attention node does not compile in fp32 there.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

from models.ensemble import Ensemble
from models.spec import ViewSpec
from trt_build.graph_file import ONE_FILE, write_graph
from trt_build.halve import cast_halved, halved

OPSET = 20
MAX_BATCH = 1024


def export_onnx(ensemble: Ensemble, path: Path, one_file: int = ONE_FILE) -> None:
    """Write `path`: inputs named after the views (uint8 [N, S, S, 3]), output `logits` (float32 [N, D]).

    Weights of more than `one_file` bytes go into a data file beside it.
    """
    write_graph(export_graph(ensemble, list(ensemble.views.values())), path, one_file)


def export_graph(net: nn.Module, specs: Sequence[ViewSpec]) -> onnx.ModelProto:
    """A graph as `export_onnx` writes it, of any network that maps the views by name to logits."""
    net.eval()
    # A batch of 3: torch.export would take a batch of 1 for a constant.
    sample = {spec.name: torch.zeros(3, spec.size, spec.size, 3, dtype=torch.uint8) for spec in specs}
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=DeprecationWarning)  # inside torch.onnx itself
        warnings.simplefilter("ignore", category=FutureWarning)
        # Exported first by itself: torch.onnx falls back to fixed shapes where a dynamic batch fails.
        traced = torch.export.export(
            net,
            args=(),
            kwargs={"views": sample},
            dynamic_shapes={"views": {spec.name: {0: batch} for spec in specs}},
            strict=False,
        )
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            input_names=[spec.name for spec in specs],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx gave no program")
    graph = _with_weights(program)
    forget_origin(graph)
    return graph


def _with_weights(program: torch.onnx.ONNXProgram) -> onnx.ModelProto:
    """The graph, its weights halved one by one: what the exporter made of each is let go at once."""
    values = list(program.model.graph.initializers.items())
    program.model.graph.initializers.clear()
    graph = program.model_proto
    for name, value in values:
        if value.const_value is None:
            raise RuntimeError(f"torch.onnx gave the initialiser {name} no value")
        graph.graph.initializer.append(halved(value.const_value.numpy(), name))
        value.const_value = None
    cast_halved(graph)
    return graph


def forget_origin(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes: they hold stack traces with the paths of the machine that exported.

    Two machines then write the same bytes, so a bundle's id depends on its contents alone.
    """
    graph = model.graph
    noted = (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for item in (*noted, *model.functions, *(node for function in model.functions for node in function.node)):
        del item.metadata_props[:]
        item.doc_string = ""
