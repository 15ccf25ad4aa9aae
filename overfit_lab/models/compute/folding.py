"""A network as it is in eval mode, with less arithmetic: batch norm is folded into the convolution before it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from overfit_lab.models.compute.agreement import is_samplewise
from overfit_lab.models.compute.forms import hooks_of
from overfit_lab.models.compute.narrow import narrow

State = Mapping[str, Tensor]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
Norm = nn.BatchNorm1d | nn.BatchNorm2d
CACHE_BYTES = 4 * 2**20
LEAST_PIECE = 32
"""Bytes of a layer's output that are worked on together on a CPU, and the fewest images; both chosen by measurement."""


class Affine(nn.Module):
    """x scale + shift for each channel: batch norm in eval mode where there is no convolution to fold it into."""

    scale: Tensor
    shift: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(n_channels))
        self.register_buffer("shift", torch.zeros(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        shape = (1, -1, *([1] * (x.dim() - 2)))
        return torch.addcmul(self.shift.view(shape), x, self.scale.view(shape))


@dataclass(frozen=True)
class Rule:
    """How tensors of the folded network come from those of the plain one.

    Args:
        targets: names in the folded network.
        sources: the names in the plain one that they depend on.
        compute: the plain network's state to the tensors of these names, differentiable.
    """

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    compute: Callable[[State], tuple[Tensor, ...]]


class NotFoldable(Exception):
    """The network cannot be folded; the text says why."""


class FoldedModel(nn.Module):
    """The eval-mode function of a model, to rounding, in fewer operations.

    Its tensors are copies: :meth:`refresh` takes over the model's present ones. None of them requires a gradient, so
    that a backward pass reaches the images alone.

    Args:
        model: maps images (B, C, H, W) to logits (B, K). Not changed, and not kept.

    Raises:
        NotFoldable: the way through the model depends on values, or no batch norm follows a convolution.

    Cost of a refresh: a pass over the parameters.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        graph, leaves = _trace(model)
        self.rules: list[Rule] = []
        plain = _PlainNames(model)
        twins = _fold(graph, leaves, self.rules, plain)
        for name, tensor in _attributes(graph, model, plain).items():
            twins[name] = tensor
            self.rules.append(_copy_rule(name, plain))
        self.network = fx.GraphModule(_holder(twins), graph)
        # No gradient reaches its weights, so an attack's backward pass computes that of the images and nothing else.
        self.network.requires_grad_(False).eval()
        self.dtype = torch.float32
        self.piece: int | None = None
        self.compiled: Callable[[Tensor], Tensor] | None = None
        self.compiled_size = 0
        self.refresh(model)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W), taken ``piece`` images at a time where that is set."""
        if self.dtype == torch.float32:
            return self._in_pieces(self._run, x)
        with torch.autocast(x.device.type, enabled=False):  # it is in half precision already
            return self._in_pieces(self._run, x)

    def _run(self, x: Tensor) -> Tensor:
        run = self.compiled if self.compiled is not None and x.shape[0] == self.compiled_size else self.network.forward
        return run(x)  # type: ignore[no-any-return]

    def _in_pieces(self, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.piece is None or x.shape[0] <= self.piece:
            return run(x)
        return torch.cat([run(part) for part in x.split(self.piece)])

    def compile(self, batch_size: int) -> None:  # type: ignore[override]
        """Have batches of this size run as compiled code from now on; others as they did.

        The code is made at the first of them, which takes seconds. Batches that are taken in pieces run so too, but for
        a smaller last piece.
        """
        self.compiled = torch.compile(self.network.forward, dynamic=False)
        self.compiled_size = batch_size if self.piece is None else min(batch_size, self.piece)

    def plain(self) -> None:
        """Undo :meth:`compile`."""
        self.compiled = None

    def narrow(self, x: Tensor, dtype: torch.dtype) -> FoldedModel:
        """Hold the weights in half precision and compute in it; images and logits stay in float32.

        Args:
            x: images (B, C, H, W) such as will be asked about.

        Raises:
            Exception: whatever the network does that cannot be followed.
        """
        narrow(self.network, x, dtype)
        self.dtype = dtype
        return self

    @torch.no_grad()
    def refresh(self, model: nn.Module) -> FoldedModel:
        """Take over the weights and running statistics that the model has now."""
        tensors = dict(self.network.named_parameters()) | dict(self.network.named_buffers())
        for name, value in self.fold(state_of(model)).items():
            tensors[name].copy_(value)
        return self

    def fold(self, state: State, moved: Collection[str] | None = None) -> dict[str, Tensor]:
        """The tensors of the folded network as a differentiable function of the model's, by name.

        Args:
            state: parameters and buffers of the model by name.
            moved: only those tensors that depend on these of the model's; None: all.
        """
        rules = [rule for rule in self.rules if moved is None or not set(moved).isdisjoint(rule.sources)]
        return {name: value for rule in rules for name, value in zip(rule.targets, rule.compute(state), strict=True)}

    def fit_cache(self, x: Tensor) -> None:
        """On a CPU, take so many images at a time that a layer's output stays in its cache, which changes nothing but
        rounding; not where a sample's logits depend on the others of its batch, which is tried.

        Args:
            x: images (B, C, H, W) such as will be asked about.
        """
        if x.device.type == "cpu" and is_samplewise(self.network.forward, x):
            self.piece = max(LEAST_PIECE, CACHE_BYTES // (self.dtype.itemsize * _largest_output(self.network, x[:1])))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, detached; those that are not saved with the model too.

    Those of the modules of its pure hooks come as ``hooks.0.NAME`` and so on.
    """
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    for i, module in enumerate(_in_hooks(model)):
        tensors |= {f"hooks.{i}.{name}": buffer for name, buffer in module.named_buffers()}
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _in_hooks(model: nn.Module) -> list[nn.Module]:
    """The modules that pure hooks apply to the model's input; they are not among its children."""
    hooks: list[Any] = [hook for hook in model._forward_pre_hooks.values() if getattr(hook, "is_pure", False)]
    return [hook.module for hook in hooks]


class _Sizes(fx.Interpreter):
    """Runs a network and notes the largest output of an operation."""

    largest = 0

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and n.op in ("call_module", "call_function", "call_method"):
            self.largest = max(self.largest, result.numel())
        return result


@torch.no_grad()
def _largest_output(network: fx.GraphModule, x: Tensor) -> int:
    """Numbers in the largest output of an operation on one image."""
    sizes = _Sizes(network)
    sizes.run(x[:1])
    return max(1, sizes.largest)


class _Root(nn.Module):
    """The modules of the model's pure hooks, and then the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.hooks = nn.ModuleList(_in_hooks(model))

    def forward(self, x: Tensor) -> Tensor:
        for module in self.hooks:
            x = module(x)
        return self.model.forward(x)  # type: ignore[no-any-return]


def _trace(model: nn.Module) -> tuple[fx.Graph, dict[str, nn.Module]]:
    """The operations of the model, and the modules among them by name, ``model.`` before each."""
    if is_listened_to(model):
        raise NotFoldable("somebody listens to its modules")
    root = _Root(model)
    calls = [(module, getattr(module, "_compiled_call_impl", None)) for module in model.modules()]
    compiled = [(module, call) for module, call in calls if call is not None]
    try:
        # Compiled code cannot be traced; without it a module calls the forward pass that it was compiled from.
        for module, _ in compiled:
            module._compiled_call_impl = None
        graph = fx.Tracer().trace(root)
    except Exception as error:
        raise NotFoldable(f"its way depends on values ({type(error).__name__})") from error
    finally:
        for module, call in compiled:
            module._compiled_call_impl = call
    modules = dict(root.named_modules(remove_duplicate=False))
    names = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    return graph, {name: modules[name] for name in names}


class _PlainNames:
    """The name in the model of what the graph calls ``model.NAME``; of a tensor with several names the first."""

    def __init__(self, model: nn.Module) -> None:
        tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        first: dict[int, str] = {}
        self._names = {name: first.setdefault(id(tensor), name) for name, tensor in tensors}

    def __call__(self, name: str) -> str:
        plain = name.removeprefix("model.")
        return self._names.get(plain, plain)


def _fold(
    graph: fx.Graph, leaves: dict[str, nn.Module], rules: list[Rule], plain: _PlainNames
) -> dict[str, nn.Module | Tensor]:
    """The modules of the folded network by name; the graph loses the norms that went into convolutions."""
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    twins: dict[str, nn.Module | Tensor] = {}
    n_folded = 0
    for node in list(graph.nodes):
        if node.op != "call_module":
            continue
        name, module = str(node.target), leaves[str(node.target)]
        if not isinstance(module, NORMS) or not _is_plain_norm(module):
            continue
        before = node.args[0] if node.args else None
        # A convolution whose result goes elsewhere too, or that runs twice, must stay as it is: the other users want
        # what comes before the norm.
        if isinstance(before, fx.Node) and _takes_in(before, leaves, calls) and calls.count(name) == 1:
            conv = str(before.target)
            twins[conv] = _with_bias(leaves[conv])
            rules.append(_folding_rule(conv, name, leaves, plain))
            node.replace_all_uses_with(before)
            graph.erase_node(node)
            n_folded += 1
        elif name not in twins:
            twins[name] = Affine(module.num_features).to(module.running_mean)
            rules.append(_affine_rule(name, module, plain))
    if not n_folded:
        raise NotFoldable("no batch norm follows a convolution")
    for name in (str(node.target) for node in graph.nodes if node.op == "call_module"):
        if name not in twins:
            twins[name] = copy.deepcopy(leaves[name])
            tensors = [*leaves[name].named_parameters(), *leaves[name].named_buffers()]
            rules += [_copy_rule(f"{name}.{part}", plain) for part, _ in tensors]
    return twins


def _is_plain_norm(norm: nn.Module) -> bool:
    """Whether it is torch's own batch norm and uses running statistics in eval mode."""
    return type(norm) in NORMS and norm.running_mean is not None


def is_listened_to(model: nn.Module) -> bool:
    """Whether a module has hooks that would no longer be called, which pure ones need not be."""
    return any(not getattr(hook, "is_pure", False) for module in model.modules() for hook in hooks_of(module))


def _takes_in(node: fx.Node, leaves: dict[str, nn.Module], calls: list[str]) -> bool:
    """Whether a call is that of a convolution whose result goes to one place only, and which is called once."""
    if node.op != "call_module" or len(node.users) != 1 or calls.count(str(node.target)) != 1:
        return False
    return type(leaves[str(node.target)]) in CONVOLUTIONS


def _with_bias(conv: nn.Module) -> nn.Module:
    twin = copy.deepcopy(conv)
    if twin.bias is None:  # the norm's shift has to go somewhere
        twin.bias = nn.Parameter(twin.weight.new_zeros(twin.weight.shape[0]))
    return twin


def _copy_rule(name: str, plain: _PlainNames) -> Rule:
    source = plain(name)
    return Rule((name,), (source,), lambda state: (state[source],))


Sources = Mapping[str, str]
"""The plain names of a module's parameters and buffers, by their names in it."""


def _scale_and_shift(state: State, norm: Sources, eps: float) -> tuple[Tensor, Tensor]:
    scale = torch.rsqrt(state[norm["running_var"]] + eps)
    if "weight" in norm:
        scale = scale * state[norm["weight"]]
    shift = -state[norm["running_mean"]] * scale
    return scale, shift + state[norm["bias"]] if "bias" in norm else shift


def _affine_rule(name: str, norm: Norm, plain: _PlainNames) -> Rule:
    eps, sources = norm.eps, _sources(norm, name, plain)
    targets = (f"{name}.scale", f"{name}.shift")
    return Rule(targets, tuple(sources.values()), lambda state: _scale_and_shift(state, sources, eps))


def _sources(module: nn.Module, name: str, plain: _PlainNames) -> Sources:
    tensors = [
        *module.named_parameters(recurse=False, remove_duplicate=False),
        *module.named_buffers(recurse=False, remove_duplicate=False),
    ]
    return {key: plain(f"{name}.{key}") for key, _ in tensors}


def _folding_rule(conv: str, norm: str, leaves: dict[str, nn.Module], plain: _PlainNames) -> Rule:
    fixed = leaves[norm]
    assert isinstance(fixed, NORMS)
    eps, of_norm, of_conv = fixed.eps, _sources(fixed, norm, plain), _sources(leaves[conv], conv, plain)

    def compute(state: State) -> tuple[Tensor, Tensor]:
        scale, shift = _scale_and_shift(state, of_norm, eps)
        weight = state[of_conv["weight"]]
        bias = shift + state[of_conv["bias"]] * scale if "bias" in of_conv else shift
        return weight * scale.view(-1, *([1] * (weight.dim() - 1))), bias

    return Rule((f"{conv}.weight", f"{conv}.bias"), (*of_conv.values(), *of_norm.values()), compute)


def _attributes(graph: fx.Graph, model: nn.Module, plain: _PlainNames) -> dict[str, Tensor]:
    """Parameters and buffers that the operations use by name, outside of a module's call."""
    known = state_of(model)
    names = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    strange = [name for name in names if plain(name) not in known]
    if strange:
        raise NotFoldable(f"it uses {strange[0]!r}, which is no parameter or buffer")
    return {name: known[plain(name)].clone() for name in sorted(names)}


def _holder(tensors_and_modules: Mapping[str, nn.Module | Tensor]) -> nn.Module:
    """A module tree that has each entry at its dotted name."""
    root = nn.Module()
    for name, entry in tensors_and_modules.items():
        *path, last = name.split(".")
        place = root
        for part in path:
            if part not in place._modules:
                place.add_module(part, nn.Module())
            place = place._modules[part]  # type: ignore[assignment]
        if isinstance(entry, nn.Module):
            place.add_module(last, entry)
        else:
            place.register_buffer(last, entry)
    return root
