"""A traced network that computes in half precision from its first convolution or matrix product on.

Mixed precision by autocast casts every weight in every forward pass, and what it leaves in float32 in between casts
activations back. Here weights are held in half precision and activations stay in it, up to the logits.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

PRODUCTS = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.MultiheadAttention)
PRODUCT_FUNCTIONS = (
    functional.conv1d,
    functional.conv2d,
    functional.linear,
    torch.matmul,
    torch.bmm,
    operator.matmul,
    functional.scaled_dot_product_attention,
)


class _Floating(fx.Interpreter):
    """Runs a network and notes which of its values are tensors of floating-point numbers."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.nodes: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.is_floating_point():
            self.nodes.add(n)
        return result


@torch.no_grad()
def narrow(network: fx.GraphModule, x: Tensor, dtype: torch.dtype) -> None:
    """Change a network so that it computes in ``dtype`` from its first product on, and gives logits in float32.

    What comes before the first product, such as the normalisation of pixels, stays in float32: near white, half
    precision knows pixels to 1/256 only.

    Args:
        network: images (B, C, H, W) to logits (B, K), in eval mode; changed in place.
        x: images such as will be asked about; the first is passed through once.

    Raises:
        Exception: whatever a network does with such an image that cannot be run node by node.
    """
    floating = _Floating(network)
    floating.run(x[:1])
    nodes = list(network.graph.nodes)
    narrowed = _narrowed(nodes, dict(network.named_modules()))
    for node in nodes:
        wide = [i for i in node.all_input_nodes if i in floating.nodes and i not in narrowed]
        if node in narrowed:
            for source in wide:
                with network.graph.inserting_before(node):
                    node.replace_input_with(source, network.graph.call_method("to", (source, dtype)))
            if node.op == "call_module":
                network.get_submodule(str(node.target)).to(dtype)
        elif node.op == "output":
            for source in [i for i in node.all_input_nodes if i in floating.nodes]:
                with network.graph.inserting_before(node):
                    node.replace_input_with(source, network.graph.call_method("float", (source,)))
    network.recompile()


def _narrowed(nodes: list[fx.Node], modules: dict[str, nn.Module]) -> set[fx.Node]:
    """The nodes that compute in half precision: products, and what depends on one or is done by one's module too."""
    narrowed: set[fx.Node] = set()
    while True:
        targets = {str(node.target) for node in narrowed if node.op == "call_module"}
        grown = {
            node
            for node in nodes
            if node.op not in ("placeholder", "get_attr", "output")
            and (
                _is_product(node, modules)
                or (node.op == "call_module" and str(node.target) in targets)
                or any(source in narrowed for source in node.all_input_nodes)
            )
        }
        if grown == narrowed:
            return narrowed
        narrowed = grown


def _is_product(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], PRODUCTS)
    return node.op == "call_function" and node.target in PRODUCT_FUNCTIONS
