"""Heads of a graph in float32 where OpenVINO computes its products in bfloat16.

OpenVINO runs every matrix product in the type that it is told, and gives the result in that type: logits on
a grid of 1/128 from 1 on, of which many pictures share one. What stands behind the last product stays in
float32; so a head is written as what it is, a sum of products, and is no matrix product any more.
"""

import numpy as np
import openvino
from openvino import opset13

PRODUCTS = frozenset({"MatMul", "Convolution", "GroupConvolution"})


def keep_heads_in_float(model: openvino.Model) -> int:
    """Rewrite the heads of `model` in place: matrix products with one output that no product follows.

    Returns how many there were.
    """
    heads = [node for node in _last_products(model) if _is_head(node)]
    for head in heads:
        weights = head.input_value(1)
        if not head.get_attributes()["transpose_b"]:  # [P, 1]
            weights = opset13.transpose(weights, np.array([1, 0])).output(0)
        logit = opset13.reduce_sum(
            opset13.multiply(head.input_value(0), weights), np.array([-1]), keep_dims=True
        )
        for reader in head.output(0).get_target_inputs():
            reader.replace_source_output(logit.output(0))
    model.validate_nodes_and_infer_types()
    return len(heads)


def _last_products(model: openvino.Model) -> list[openvino.Node]:
    """Products that no other product follows."""
    before, found = set[str](), list[openvino.Node]()  # names of nodes that lead to a product
    for node in reversed(model.get_ordered_ops()):
        readers = [
            reader.get_node().get_friendly_name()
            for output in node.outputs()
            for reader in output.get_target_inputs()
        ]
        leads, product = not before.isdisjoint(readers), node.get_type_name() in PRODUCTS
        if product and not leads:
            found.append(node)
        if product or leads:
            before.add(node.get_friendly_name())
    return found


def _is_head(node: openvino.Node) -> bool:
    """Features [B, P] times the weights of one output."""
    if node.get_type_name() != "MatMul" or node.get_attributes()["transpose_a"]:
        return False
    features, weights = (node.input_value(index).partial_shape for index in (0, 1))
    outputs = 0 if node.get_attributes()["transpose_b"] else 1
    return (
        features.rank.is_static
        and len(features) == 2
        and weights.is_static
        and len(weights) == 2
        and weights.to_shape()[outputs] == 1
    )
