"""A network as it is in eval mode, with less arithmetic: batch norm is folded into the convolution before it."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from overfit_lab.models.isolation import isolated

State = Mapping[str, Tensor]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
Norm = nn.BatchNorm1d | nn.BatchNorm2d
CHECKED_EVERY = 256
MOST_MADE, MOST_FORMS = 16, 4
PLAIN = (bool, int, float, str)
CACHE_BYTES = 4 * 2**20
LEAST_PIECE = 32
"""Bytes of a layer's output that are worked on together on a CPU, and the fewest images; both chosen by measurement."""
LOGITS_WITHIN, GRADIENTS_ALIKE = 1e-3, 0.98
MIXED_WITHIN, MIXED_ALIKE = 0.05, 0.9
"""Largest difference of logits, as a share of the largest, and least cosine of input gradients that count as the same;
the second pair under mixed precision. Where a ReLU's input is within rounding of 0 its gradient may go either way, so
gradients are not compared number by number."""


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
        twins = _fold(graph, leaves, self.rules)
        for name, tensor in _attributes(graph, model).items():
            twins[name] = tensor
            self.rules.append(_copy_rule(name, name))
        self.network = fx.GraphModule(_holder(twins), graph)
        self.network.requires_grad_(False).eval()
        self.piece: int | None = None
        self.compiled: Callable[[Tensor], Tensor] | None = None
        self.compiled_size = 0
        self.refresh(model)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W), taken ``piece`` images at a time where that is set."""
        return self._in_pieces(self._run, x)

    def _run(self, x: Tensor) -> Tensor:
        run = self.compiled if self.compiled is not None and x.shape[0] == self.compiled_size else self.network
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

    @torch.no_grad()
    def refresh(self, model: nn.Module) -> FoldedModel:
        """Take over the weights and running statistics that the model has now."""
        own = dict(self.network.named_parameters()) | dict(self.network.named_buffers())
        for name, value in self.fold(state_of(model)).items():
            own[name].copy_(value)
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
        if x.device.type == "cpu" and _is_samplewise(self.network, x[:1]):
            self.piece = max(LEAST_PIECE, CACHE_BYTES // (4 * _largest_output(self.network, x[:1])))


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


@dataclass
class _Entry:
    """The folded network of one form of a model, None where there is none, and how often it was asked for."""

    twin: FoldedModel | None
    n_calls: int = 0


@dataclass
class _Kept:
    """The latest forms of a model with what was made of them, and how often something was made."""

    entries: dict[tuple[object, ...], _Entry] = field(default_factory=dict)
    n_made: int = 0


_kept: weakref.WeakKeyDictionary[nn.Module, _Kept] = weakref.WeakKeyDictionary()


def folded(model: nn.Module, x: Tensor) -> FoldedModel | None:
    """The folded network of a model with its present weights, or None where there is none that agrees with it.

    It is made at the first call and kept as long as the model lives and its modules, their hooks and their switches
    (attributes that are plain numbers, truth values or text) stay the same; of one that changes again and again there
    is none. Making it includes a comparison with the plain network, of logits and input gradients on two images, and
    so does every 256th call after it; a network that does not agree is not used again.

    Args:
        model: any module from images to logits; looked at in eval mode, left as it was.
        x: images (B, C, H, W) such as will be asked about.

    Cost: a pass over the parameters; the first time also a trace of the model and the comparison.
    """
    form = (_form_of(model), x.shape[1:], x.dtype, x.device)
    kept = _kept.setdefault(model, _Kept())
    if form not in kept.entries:
        kept.entries[form] = _Entry(_make(model, x) if kept.n_made < MOST_MADE else None)
        kept.n_made += 1
        while len(kept.entries) > MOST_FORMS:
            del kept.entries[next(iter(kept.entries))]
    entry = kept.entries[form]
    if entry.twin is None:
        return None
    twin = entry.twin.refresh(model)
    if entry.n_calls % CHECKED_EVERY == 0 and not _agrees_now(model, twin, x[:2]):
        entry.twin = None
    entry.n_calls += 1
    return entry.twin


def build_of(model: nn.Module) -> tuple[object, ...]:
    """Which modules a model has, and how their switches stand: numbers, truth values and text among attributes."""
    return tuple((id(module), tuple(sorted(_switches(module)))) for module in model.modules())


def _form_of(model: nn.Module) -> tuple[object, ...]:
    """What a trace of the model depends on besides tensors."""
    hooks = tuple(tuple(map(_identity, _hooks(module))) for module in model.modules())
    return build_of(model), hooks


def _identity(hook: Any) -> int:
    """The hook itself, or the module of a pure one, which may come and go in hooks that are made anew."""
    return id(hook.module) if getattr(hook, "is_pure", False) else id(hook)


def _switches(module: nn.Module) -> list[tuple[str, str]]:
    own = vars(module).items()
    return [(name, repr(value)) for name, value in own if type(value) in PLAIN and name != "training"]


def _make(model: nn.Module, x: Tensor) -> FoldedModel | None:
    with isolated(model):
        try:
            twin = FoldedModel(model).to(memory_format=torch.channels_last)
        except NotFoldable:
            return None
        twin.fit_cache(x)
        return twin


@torch.no_grad()
def _is_samplewise(network: nn.Module, x: Tensor) -> bool:
    """Whether two different images have the logits together that they have apart."""
    pair = torch.cat([x, 1 - x])
    apart, together = torch.cat([network(image) for image in pair.split(1)]), network(pair)
    return bool((apart - together).abs().max() <= LOGITS_WITHIN * apart.abs().max().clamp_min(1e-6))


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


def _agrees_now(model: nn.Module, twin: FoldedModel, x: Tensor) -> bool:
    with isolated(model):
        return agree(model, twin.network, x)


def agree(model: nn.Module, twin: nn.Module, x: Tensor) -> bool:
    """Whether two networks give the same logits and input gradients, to rounding.

    Args:
        model: the one to be compared with, in the mode to be compared.
        twin: the other.
        x: images (B, C, H, W).
    """
    (expected, slope), (found, other) = _logits_and_gradient(model, x), _logits_and_gradient(twin, x)
    within, alike = (MIXED_WITHIN, MIXED_ALIKE) if _is_mixed(x) else (LOGITS_WITHIN, GRADIENTS_ALIKE)
    if not (found - expected).abs().max() <= within * expected.abs().max().clamp_min(1e-6):
        return False
    a, b = slope.double().flatten(), other.double().flatten()
    if not (a.any() and b.any()):
        return bool(a.any() == b.any())
    return bool(functional.cosine_similarity(a, b, dim=0) >= alike)


def _is_mixed(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)


def _logits_and_gradient(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, K), and the image gradient (B, C, H, W) of a fixed combination of them."""
    images = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        logits = network(images).float()
        weights = torch.linspace(-1, 1, logits.numel(), device=x.device).view_as(logits)
        total = (logits * weights).sum()
    if not total.requires_grad:
        return logits, torch.zeros_like(images)
    (gradient,) = torch.autograd.grad(total, images)
    return logits.detach(), gradient.float()


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
    if any(_listeners(module) for module in model.modules()):
        raise NotFoldable("somebody listens to its modules")
    root = _Root(model)
    calls = [(module, getattr(module, "_compiled_call_impl", None)) for module in model.modules()]
    compiled = [(module, call) for module, call in calls if call is not None]
    try:
        for module, _ in compiled:
            module._compiled_call_impl = None
        graph = fx.Tracer().trace(root)
    except Exception as error:
        raise NotFoldable(f"its way depends on values ({type(error).__name__})") from error
    finally:
        for module, call in compiled:
            module._compiled_call_impl = call
    modules = dict(root.named_modules())
    names = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    return graph, {name: modules[name] for name in names}


def _fold(graph: fx.Graph, leaves: dict[str, nn.Module], rules: list[Rule]) -> dict[str, nn.Module | Tensor]:
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
        if isinstance(before, fx.Node) and _takes_in(before, leaves, calls) and calls.count(name) == 1:
            conv = str(before.target)
            twins[conv] = _with_bias(leaves[conv])
            rules.append(_folding_rule(conv, name, leaves))
            node.replace_all_uses_with(before)
            graph.erase_node(node)
            n_folded += 1
        elif name not in twins:
            twins[name] = Affine(module.num_features).to(module.running_mean)
            rules.append(_affine_rule(name, module))
    if not n_folded:
        raise NotFoldable("no batch norm follows a convolution")
    for name in (str(node.target) for node in graph.nodes if node.op == "call_module"):
        if name not in twins:
            twins[name] = copy.deepcopy(leaves[name])
            tensors = [*leaves[name].named_parameters(), *leaves[name].named_buffers()]
            rules += [_copy_rule(f"{name}.{own}", f"{name}.{own}") for own, _ in tensors]
    return twins


def _is_plain_norm(norm: nn.Module) -> bool:
    """Whether it is torch's own batch norm and uses running statistics in eval mode."""
    return type(norm) in NORMS and norm.running_mean is not None


def _hooks(module: nn.Module) -> list[object]:
    tables = (module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks)
    return [hook for table in tables for hook in table.values()]


def _listeners(module: nn.Module) -> list[object]:
    """A module's hooks, which would no longer be called, but for pure ones."""
    return [hook for hook in _hooks(module) if not getattr(hook, "is_pure", False)]


def _takes_in(node: fx.Node, leaves: dict[str, nn.Module], calls: list[str]) -> bool:
    """Whether a call is that of a convolution whose result goes to one place only, and which is called once."""
    if node.op != "call_module" or len(node.users) != 1 or calls.count(str(node.target)) != 1:
        return False
    return type(leaves[str(node.target)]) in CONVOLUTIONS


def _with_bias(conv: nn.Module) -> nn.Module:
    twin = copy.deepcopy(conv)
    if twin.bias is None:
        twin.bias = nn.Parameter(twin.weight.new_zeros(twin.weight.shape[0]))
    return twin


def _plain_name(name: str) -> str:
    """The name in the model of what the graph calls ``model.NAME``."""
    return name.removeprefix("model.")


def _copy_rule(target: str, source: str) -> Rule:
    plain = _plain_name(source)
    return Rule((target,), (plain,), lambda state: (state[plain],))


def _scale_and_shift(state: State, name: str, eps: float, affine: bool) -> tuple[Tensor, Tensor]:
    norm = _plain_name(name)
    scale = torch.rsqrt(state[f"{norm}.running_var"] + eps)
    if affine:
        scale = scale * state[f"{norm}.weight"]
    shift = -state[f"{norm}.running_mean"] * scale
    return scale, shift + state[f"{norm}.bias"] if affine else shift


def _affine_rule(name: str, norm: Norm) -> Rule:
    eps, affine = norm.eps, norm.affine
    targets = (f"{name}.scale", f"{name}.shift")
    return Rule(targets, _names_in(norm, name), lambda state: _scale_and_shift(state, name, eps, affine))


def _names_in(module: nn.Module, name: str) -> tuple[str, ...]:
    """The plain names of a module's parameters and buffers."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return tuple(f"{_plain_name(name)}.{key}" for key, _ in own)


def _folding_rule(conv: str, norm: str, leaves: dict[str, nn.Module]) -> Rule:
    fixed = leaves[norm]
    assert isinstance(fixed, NORMS)
    eps, affine = fixed.eps, fixed.affine
    biased, source = leaves[conv].bias is not None, _plain_name(conv)

    def compute(state: State) -> tuple[Tensor, Tensor]:
        scale, shift = _scale_and_shift(state, norm, eps, affine)
        weight = state[f"{source}.weight"]
        bias = shift + state[f"{source}.bias"] * scale if biased else shift
        return weight * scale.view(-1, *([1] * (weight.dim() - 1))), bias

    sources = (*_names_in(leaves[conv], conv), *_names_in(fixed, norm))
    return Rule((f"{conv}.weight", f"{conv}.bias"), sources, compute)


def _attributes(graph: fx.Graph, model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that the operations use by name, outside of a module's call."""
    known = state_of(model)
    names = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    strange = [name for name in names if _plain_name(name) not in known]
    if strange:
        raise NotFoldable(f"it uses {strange[0]!r}, which is no parameter or buffer")
    return {name: known[_plain_name(name)].clone() for name in sorted(names)}


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
