"""Training steps on the meta device: a step that waits for numbers, or mixes in a tensor of the CPU, fails.

Tensors of the meta device have shapes and no numbers. What would make the host wait for an accelerator therefore fails
on them by itself: ``item()``, ``cpu()``, ``tolist()``, the truth of a tensor, an index by a mask, ``nonzero``. Tensors
of the CPU beside them pass, and assignments by a mask; :class:`OnOneDevice` refuses those.
"""

import copy
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from overfit_lab import seeds
from overfit_lab.config.catalog import ATTACKS, LABELS, OBJECTIVES, REGULARIZERS
from overfit_lab.models.compute import folded
from overfit_lab.training.build import build
from overfit_lab.training.dynamics import Dynamics
from overfit_lab.training.events import EventBus
from overfit_lab.training.session import Session
from overfit_lab.training.step import take_step
from overfit_lab.training.tally import EpochTallies
from overfit_lab.types import Batch, Clock, Dataset

META = torch.device("meta")
LITERAL = torch.ops.aten.lift_fresh.default
PUTS = (torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default)


class OffDevice(AssertionError):
    """An operation made a tensor on the CPU, took one beside tensors of another device, or has to count a mask."""


class OnOneDevice(TorchDispatchMode):
    """Refuses tensors of the CPU that are made inside, that tensors of another device meet, or that are moved there.

    A counter that is kept on the CPU and counted on there concerns nobody.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        given = {t.device.type for t in leaves if isinstance(t, Tensor)}
        if func is LITERAL or len(given) > 1 or (given == {"cpu"} and "device" in kwargs):
            raise OffDevice(f"{func}: takes a tensor of the CPU")
        if func in PUTS and args[2].numel() > 1 and any(i is not None and i.dtype == torch.bool for i in args[1]):
            raise OffDevice(f"{func}: counts a mask to assign several numbers")
        result = _of_known_form(func, leaves, args, kwargs)
        if not given and any(t.device.type == "cpu" for t in tree_leaves(result) if isinstance(t, Tensor)):
            raise OffDevice(f"{func}: makes a tensor on the CPU")
        return result


_forms = {}


def _of_known_form(func, leaves, args, kwargs):
    """What an operation gives. Where it only makes tensors, their form is remembered: torch takes half a millisecond to
    find it.
    """
    if func._schema.is_mutable or any(r.alias_info is not None for r in func._schema.returns):
        return func(*args, **kwargs)
    key = (func, *kwargs, *map(_form, leaves))
    if key not in _forms:
        result = func(*args, **kwargs)
        parts = [result] if isinstance(result, Tensor) else result
        if not isinstance(parts, list | tuple) or not all(t is None or t.is_meta for t in parts):
            return result
        _forms[key] = type(result), [_form(t) for t in parts]
    kind, forms = _forms[key]
    made = [None if form is None else torch.empty_strided(*form[:2], dtype=form[2], device=META) for form in forms]
    return made[0] if issubclass(kind, Tensor) else kind(made)


def _form(leaf):
    if isinstance(leaf, Tensor):
        return leaf.shape, leaf.stride(), leaf.dtype, leaf.device
    return None if leaf is None else (type(leaf), str(leaf))


class Stream(torch.Generator):
    """A random stream of the meta device, for which torch has none."""

    device = META


def _stream(seed, *path, device="cpu"):
    place = torch.device(device)
    return Stream() if place == META else torch.Generator(place).manual_seed(seeds.derive_seed(seed, *path))


@contextmanager
def without_numbers(patch):
    """Inside, random streams of the meta device stay on it, nobody asks whether a folded network has the same numbers
    as its model, and there is no autocast, which the device lacks.
    """
    for registry in (ATTACKS, LABELS, OBJECTIVES, REGULARIZERS):
        list(registry)  # what is loaded later would have streams of the CPU
    with patch.context() as inside:
        plain = seeds.derive_generator
        for name, module in list(sys.modules.items()):
            if name.startswith("overfit_lab.") and getattr(module, "derive_generator", None) is plain:
                inside.setattr(module, "derive_generator", _stream)
        inside.setattr(folded, "agree", lambda *_: True)
        inside.setattr(Session, "autocast", lambda _: nullcontext())
        yield


def to_meta(data: Dataset) -> Dataset:
    """The same splits without their numbers."""
    fields = ("x", "y", "y_true", "corrupted", "order")
    splits = {n: replace(s, **{f: getattr(s, f).to(META) for f in fields}) for n, s in data.splits.items()}
    return replace(data, splits=splits)


def session_on_meta(config, data, epoch=0):
    """A run's session on the meta device in some epoch; teachers are copies of its network."""
    session = build(config, META, data=data)
    session.clock = Clock(epoch, 7 * epoch, config.epochs, float(epoch))
    session.teachers.load = lambda _: copy.deepcopy(session.model)
    session.dynamics = Dynamics(len(data.splits["train"]), META)
    return session


def first_batch(session) -> Batch:
    """The first batch of the session's epoch; what is drawn once an epoch, for all samples, is drawn then."""
    batch = next(iter(session.loader.epoch(session.clock.epoch)))
    for regularizer in session.regularizers.values():
        regularizer.batch(batch, session.clock)
    return batch


def step_on_one_device(session, batch):
    """One whole training step, tallies and optimiser included."""
    session.tallies = EpochTallies(META, session.reference)
    with OnOneDevice():
        take_step(session, batch, EventBus(), len(batch.y))
        for view in session.dynamics.views.values():
            view.settle()
