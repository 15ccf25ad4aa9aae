"""Everything that a model holds, so that it can be said whether a measurement left a trace."""

import copy
import io
import random
import warnings

import numpy as np
import torch

PLAIN = (bool, int, float, str, bytes, type(None), complex)


def bits(tensor):
    """The bytes of a tensor; its graph, its need of gradients and its version do not matter here."""
    if isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin):
        return "uninitialised"
    flat = tensor.detach().resolve_conj().clone(memory_format=torch.contiguous_format).reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def of_tensor(tensor):
    gradient = tensor.grad if tensor.is_leaf else None
    return {
        "type": type(tensor),
        "dtype": tensor.dtype,
        "requires_grad": tensor.requires_grad,
        "graph": id(tensor.grad_fn) if tensor.grad_fn is not None else None,
        "bits": bits(tensor),
        "grad": None if gradient is None else (id(gradient), bits(gradient)),
        "hooks": sorted(tensor._backward_hooks or ()),
    }


def of_value(value, seen, depth=0):
    """A value's identity, and what it holds."""
    if isinstance(value, PLAIN):
        return ("plain", type(value), value)
    if id(value) in seen or depth > 6:
        return ("object", id(value))
    seen = seen | {id(value)}
    if isinstance(value, torch.Tensor):
        return ("tensor", id(value), of_tensor(value))
    if isinstance(value, dict):
        return ("dict", id(value), [(key, of_value(entry, seen, depth + 1)) for key, entry in value.items()])
    if isinstance(value, list | tuple):
        return (type(value), id(value), [of_value(entry, seen, depth + 1) for entry in value])
    if isinstance(value, set | frozenset):
        return (type(value), id(value), sorted(map(repr, value)))
    return ("object", id(value))


def holdings(model):
    """Path to what is there: every entry of every module's dictionary, and the random streams."""
    found = {"alive": [vars(module).copy() for module in model.modules()]}  # so that no identity is used again
    found["alive"] += [p.grad for p in model.parameters()]
    for name, module in model.named_modules(remove_duplicate=False):
        for key, value in vars(module).items():
            found[f"{name or 'model'}.{key}"] = of_value(value, frozenset())
    found["streams"] = {key: bits(s) if isinstance(s, torch.Tensor) else repr(s) for key, s in streams().items()}
    found["global"] = (torch.is_grad_enabled(), torch.get_default_dtype(), torch.is_autocast_enabled("cpu"))
    return found


def streams():
    return {"python": random.getstate(), "numpy": np.random.get_state()[1].tolist(), "torch": torch.get_rng_state()}


def differences(before, after):
    """The first few entries that are another object or have other bits."""
    before, after = ({k: v for k, v in found.items() if k != "alive"} for found in (before, after))
    gone = [f"{key} is gone" for key in before.keys() - after.keys()]
    new = [f"{key} is new" for key in after.keys() - before.keys()]
    changed = [f"{key} changed" for key in before if key in after and before[key] != after[key]]
    return (gone + new + changed)[:4]


def can_be_copied(model):
    """Whether ``copy.deepcopy`` and ``torch.save`` work."""
    answers = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for attempt in (copy.deepcopy, lambda m: torch.save(m, io.BytesIO())):
            try:
                attempt(model)
                answers.append(True)
            except Exception:
                answers.append(False)
    return answers
