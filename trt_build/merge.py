"""One more detector in an ensemble's graph: its logit becomes the last column.

    views of the ensemble --> ensemble ----> [N, D] --+
                                                      +--> logits [N, D + 1]
    view of the member -----> member ------> [N, 1] --+

Where both read the same view, they share its input.
"""

import onnx
from onnx import compose, helper

LOGITS = "logits"


class MergeError(Exception):
    """Two graphs that cannot become one; the message says why."""


def merged(ensemble: onnx.ModelProto, member: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The graph of both. Everything in `member` but its input gets the prefix `name/`. Raises MergeError.

    Both graphs have one output, `logits`; `name` is new in the ensemble. Both are changed: large ones are not
    copied.
    """
    _same_opsets(ensemble, member, name)
    added = compose.add_prefix(member, f"{name}/", rename_inputs=False, inplace=True)
    graph = ensemble.graph
    known = {value.name: value for value in graph.input}
    before = f"{name}/before"
    for node in graph.node:
        node.output[:] = [before if output == LOGITS else output for output in node.output]
    graph.node.extend(added.graph.node)
    graph.initializer.extend(added.graph.initializer)
    graph.input.extend(value for value in added.graph.input if value.name not in known)
    ensemble.functions.extend(added.functions)
    joined = [before, f"{name}/{LOGITS}"]
    graph.node.append(helper.make_node("Concat", joined, [LOGITS], name=f"{name}/join", axis=1))
    columns = graph.output[0].type.tensor_type.shape.dim
    columns[1].dim_value += 1
    batch = columns[0].dim_param
    for value in graph.input:
        value.type.tensor_type.shape.dim[0].dim_param = batch
    del graph.value_info[:]  # shapes that were noted with other names for the batch
    return ensemble


def _same_opsets(ensemble: onnx.ModelProto, member: onnx.ModelProto, name: str) -> None:
    ours = {opset.domain: opset.version for opset in ensemble.opset_import}
    for opset in member.opset_import:
        if ours.setdefault(opset.domain, opset.version) != opset.version:
            domain = opset.domain or "ai.onnx"
            raise MergeError(
                f"{name} is written for version {opset.version} of the operators of {domain}, the bundle for "
                f"version {ours[opset.domain]}: export the bundle again with this release"
            )
    for domain, version in ours.items():
        if domain not in {opset.domain for opset in ensemble.opset_import}:
            ensemble.opset_import.append(helper.make_opsetid(domain, version))
