"""Local derivatives: each layer's input, and the derivative of any function of the logits at the layer's output.

Together they give what a weight does to one sample's loss without a gradient of all weights for that sample: a layer
y = f(a; w) with output derivative delta has the per-sample gradient (df/dw)^T delta, whose norm and whose product with
a direction have short forms (:mod:`overfit_lab.probes.metrics.layer_kinds`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from overfit_lab.errors import ProbeError
from overfit_lab.models.isolation import frozen
from overfit_lab.probes.metrics.layers import trainable_by_name
from overfit_lab.types import widened


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a module that owns trainable parameters.

    Args:
        name: the module's name, "" for the model itself.
        input: its input a (B, ...), without a graph; in float32 where it is of less precision.
        parameters: its own trainable parameters, name in the module to name in the model; a parameter that several
            modules share has the first of its names.
        number: 0 for the module's first call in the pass, then 1, ...
    """

    name: str
    module: nn.Module
    input: Tensor
    parameters: Mapping[str, str]
    number: int = 0


Visit = Callable[[LayerCall, Tensor], None]
"""Takes a call and delta, the derivative at its output (B, ...), which it must not change or keep without a copy; delta
is in float32 where the output is of less precision, as it is under mixed precision."""


@dataclass
class LocalPass:
    """A forward pass whose layers can be visited by any number of backward passes.

    Args:
        logits: (B, K), without a graph.
        calls: every call of a module that owns trainable parameters, in order.
        uncovered: trainable parameters whose gradient the calls do not give, with the reason; see
            :func:`local_pass`.
        repeated: trainable parameters in more than one call, so that their gradient is a sum over calls: a norm must
            be taken after adding, a product with a direction may be added.
        unused: trainable parameters that the pass did not touch: their gradient is zero.
    """

    logits: Tensor
    calls: list[LayerCall] = field(default_factory=list)
    uncovered: dict[str, str] = field(default_factory=dict)
    repeated: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()
    _graph: Tensor | None = None
    _anchors: list[Tensor] = field(default_factory=list)
    _visit: Visit | None = None

    def backward(self, direction: Tensor, visit: Visit) -> None:
        """Visit each call with the derivative of sum_i <direction_i, z_i> at its output, the last layers first.

        Calls that the logits do not depend on are not visited: their delta is zero. May be called several times.
        The direction is (B, K); ``visit`` is called during the pass, so that few derivatives are held.

        Cost: one backward pass to the layers' outputs; no weight gradient.
        """
        if self._graph is None:
            raise RuntimeError("the local pass is over")
        if not self._anchors or not self._graph.requires_grad:
            return
        self._visit = visit
        try:
            direction = direction.to(self._graph)
            torch.autograd.grad(self._graph, self._anchors, direction, retain_graph=True, allow_unused=True)
        finally:
            self._visit = None


@contextmanager
def local_pass(model: nn.Module, x: Tensor) -> Iterator[LocalPass]:
    """One forward pass that remembers the input of every call of every module with trainable parameters of its own.

    Parameters need no gradient inside, so a backward pass computes derivatives of activations alone, from the first
    such module's output on. A derivative belongs to the output as the module returned it, whatever is done to it in
    place afterwards; inputs that are overwritten later are copied.

    Not covered, and named in ``uncovered``: parameters of modules that take other than one tensor or give other than
    one, or do not keep one row a sample, or run without gradients; parameters used outside their module's forward
    pass (as in attention's output projection, or a functional use of a tied weight); all parameters of a scripted
    model.

    The model's samples do not depend on each other; whoever calls has asked :func:`~.directional.refuse_mixing`, once
    for all of its passes.

    Raises:
        ProbeError: no trainable parameter.

    Cost: one forward pass; memory of its activations.
    """
    trainable = trainable_by_name(model)
    with frozen(model):
        # Inputs are seldom overwritten, so they are copied at a second try only: copies would double the memory.
        passed = _record(model, x, trainable, copy=False)
        if passed is None:
            passed = _record(model, x, trainable, copy=True)
        assert passed is not None
        try:
            yield passed
        finally:
            passed._graph, passed._anchors = None, []


def _record(model: nn.Module, x: Tensor, trainable: Mapping[str, nn.Parameter], *, copy: bool) -> LocalPass | None:
    """A recorded pass; None where an input was overwritten after it was seen, and is therefore to be copied."""
    recorder = _Recorder(model, len(x), trainable, copy)
    with ExitStack() as hooks, torch.enable_grad():
        for module in model.modules():
            if module in recorder.owned:
                before = module.register_forward_pre_hook(recorder.enter, with_kwargs=True)
                # ``prepend``: the derivative belongs to what the module itself gave, before anybody's hook changes it.
                after = module.register_forward_hook(recorder.leave, with_kwargs=True, prepend=True)
                hooks.callback(before.remove)
                hooks.callback(after.remove)
        hooks.enter_context(_Uses(recorder))
        logits = model(x.detach().clone())
    if recorder.overwritten():
        return None
    return recorder.finish(logits)


@dataclass
class _Frame:
    """A module in the middle of its forward pass: its input (as it was, and its version), or why it is no use."""

    module: nn.Module
    input: Tensor | None
    version: int
    reason: str


class _Recorder:
    """What the hooks of one forward pass gather."""

    def __init__(self, model: nn.Module, n_rows: int, trainable: Mapping[str, nn.Parameter], copy: bool) -> None:
        self.n_rows, self.copy = n_rows, copy
        self.name_of = {id(p): name for name, p in trainable.items()}
        self.module_name = {module: name for name, module in model.named_modules()}
        self.owned: dict[nn.Module, dict[str, str]] = {}
        self.owners: dict[str, set[nn.Module]] = {name: set() for name in trainable}
        self.stack: list[_Frame] = []
        self.seen: set[str] = set()
        self.uncovered: dict[str, str] = {}
        self.calls: list[LayerCall] = []
        self.versions: list[int] = []
        self.anchors: list[Tensor] = []
        self.passed = LocalPass(logits=torch.empty(0))
        for module in model.modules():
            trained = {local: self.name_of[id(p)] for local, p in module._parameters.items() if id(p) in self.name_of}
            if trained:
                self.owned[module] = trained
                for full in trained.values():
                    self.owners[full].add(module)
            if isinstance(module, torch.jit.ScriptModule):
                self.uncovered |= dict.fromkeys(trainable, "the model is scripted")

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a module's forward pass."""
        x = args[0] if len(args) == 1 and not kwargs and isinstance(args[0], Tensor) else None
        reason = ""
        if x is None:
            reason = "its module takes other than one tensor"
        elif x.dim() == 0 or len(x) != self.n_rows:
            reason = "its module's input has not one row a sample"
        elif not torch.is_grad_enabled():
            reason = "its module runs without gradients"
        remembered = None if x is None else widened(x.detach())
        if remembered is not None and self.copy:
            remembered = remembered.clone()
        self.stack.append(_Frame(module, remembered, 0 if remembered is None else remembered._version, reason))

    def leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Tensor | None:
        """After a module's forward pass; gives an output that derivatives reach in place of one that they do not."""
        frame = self.stack.pop()
        reason = frame.reason
        if not isinstance(output, Tensor) or not output.is_floating_point():
            reason = reason or "its module gives other than one tensor of numbers"
        elif output.dim() == 0 or len(output) != self.n_rows:
            reason = reason or "its module's output has not one row a sample"
        if reason or frame.input is None:
            self.uncovered |= dict.fromkeys(self.owned[module].values(), reason)
        replaced = None
        if torch.is_grad_enabled() and isinstance(output, Tensor) and output.is_floating_point():
            if not output.requires_grad:
                # No parameter needs a gradient, so the first such module's output is outside of any graph: a leaf of
                # our own starts one. It is handed on as a clone, since a leaf may not be changed in place.
                anchor = output.detach().requires_grad_()
                self.anchors.append(anchor)
                replaced = output = anchor.clone()
            elif output._is_view() and output is not args[0]:
                # A view gets another history when its base is changed in place, and derivatives then pass its hook by.
                replaced = output = output.clone()
        if not reason and frame.input is not None:
            number = sum(call.module is module for call in self.calls)
            call = LayerCall(self.module_name[module], module, frame.input, self.owned[module], number)
            self.calls.append(call)
            self.versions.append(frame.version)
            # On this tensor, not on the module: autograd then gives the derivative at the output as it was returned,
            # whatever is done to it in place afterwards.
            output.register_hook(self._visitor(call))
        return replaced

    def _visitor(self, call: LayerCall) -> Callable[[Tensor], None]:
        passed = self.passed

        def deliver(delta: Tensor) -> None:
            if passed._visit is not None:
                passed._visit(call, widened(delta.detach()))

        return deliver

    def overwritten(self) -> bool:
        """Whether some input is no longer what its module saw."""
        return any(call.input._version != version for call, version in zip(self.calls, self.versions, strict=True))

    def used(self, parameter: str) -> None:
        """A function of torch took a parameter."""
        self.seen.add(parameter)
        if not any(frame.module in self.owners[parameter] for frame in self.stack):
            self.uncovered[parameter] = "it is used outside its module's forward pass"

    def finish(self, logits: Tensor) -> LocalPass:
        """The pass, once the model has run."""
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            raise ProbeError("the model gives no logits of shape (batch, classes)")
        counts: dict[str, int] = {}
        for call in self.calls:
            for full in call.parameters.values():
                counts[full] = counts.get(full, 0) + 1
        passed = self.passed
        passed.logits, passed._graph, passed._anchors = logits.detach(), logits, self.anchors
        passed.calls, passed.uncovered = self.calls, self.uncovered
        passed.repeated = frozenset(name for name, count in counts.items() if count > 1)
        passed.unused = frozenset(set(self.owners) - set(counts) - set(self.uncovered) - self.seen)
        return passed


class _Uses(TorchFunctionMode):
    """Tells the recorder of every parameter that enters a function of torch whose result holds a tensor."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        names = self.recorder.name_of
        parameters = [names[id(t)] for t in _tensors((*args, *kwargs.values())) if id(t) in names]
        if parameters and any(True for _ in _tensors((result,))):
            for name in parameters:
                self.recorder.used(name)
        return result


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
