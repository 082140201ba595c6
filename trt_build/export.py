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
from trt_build.halve import halve

OPSET = 20
MAX_BATCH = 1024


def export_onnx(ensemble: Ensemble, path: Path) -> None:
    """Write `path`: inputs named after the views (uint8 [N, S, S, 3]), output `logits` (float32 [N, D])."""
    path.write_bytes(export_graph(ensemble, list(ensemble.views.values())).SerializeToString())


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
    graph = program.model_proto
    halve(graph)
    forget_origin(graph)
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
