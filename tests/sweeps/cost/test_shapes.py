"""What is remembered of operations without numbers is what torch says of them."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from overfit_lab.config import apply_overrides
from overfit_lab.config.recipes import recipe
from overfit_lab.sweeps.cost import counting, shapes, workload
from overfit_lab.sweeps.cost.shapes import META, result_of

aten = torch.ops.aten


def layout(t):
    return t.shape, t.stride(), t.dtype, t.device.type, t.storage_offset(), t.untyped_storage().nbytes()


class Compared(TorchDispatchMode):
    """Runs each operation both ways, twice, and notes where the results differ."""

    def __init__(self):
        super().__init__()
        self.n, self.wrong = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if shapes._makes_new(func):
            ours = [result_of(func, args, kwargs) for _ in range(2)]
            theirs = func(*args, **kwargs)
            for one in ours:
                for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (one, theirs)), strict=True):
                    self.n += 1
                    if (a is None) != (b is None) or (a is not None and layout(a) != layout(b)):
                        self.wrong.append(func)
            return theirs
        return result_of(func, args, kwargs)


def test_operations_of_a_step_give_the_same_layouts():
    with Compared() as compared:
        x = torch.zeros(4, 3, 8, 8, device=META).contiguous(memory_format=torch.channels_last).requires_grad_()
        weight = torch.zeros(5, 3, 3, 3, device=META, requires_grad=True)
        logits = torch.nn.functional.conv2d(x, weight, padding=1).relu().mean((2, 3)) + 1.5
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.int64, device=META))
        (gradient,) = torch.autograd.grad(loss, x)
        moved = (x.detach() + 0.1 * gradient.sign()).clamp(0, 1).where(gradient > 0, 0.0).half()
        torch.cat([moved, moved[::2]]).sort(dim=0)
    assert compared.n > 30
    assert not compared.wrong


def test_arguments_that_are_equal_and_not_alike_are_told_apart():
    x = torch.zeros(2, dtype=torch.int64, device=META)
    kinds = [result_of(aten.add.Tensor, (x, other), {}).dtype for other in (1, 1.0, True, 1)]
    assert kinds == [torch.int64, torch.float32, torch.int64, torch.int64]


def test_what_writes_or_gives_back_its_argument_is_done():
    x = torch.zeros(2, 3, device=META)
    assert result_of(aten.add_.Tensor, (x, 1), {}) is x
    assert result_of(aten.t.default, (x,), {}).untyped_storage()._cdata == x.untyped_storage()._cdata


def test_tensors_with_numbers_are_calculated():
    x = torch.arange(3.0)
    torch.testing.assert_close(result_of(aten.mul.Tensor, (x, 2.0), {}), 2 * x)


def test_results_are_tensors_of_their_own():
    x = torch.zeros(3, device=META)
    first, second = (result_of(aten.mul.Tensor, (x, x), {}) for _ in range(2))
    assert first.untyped_storage()._cdata != second.untyped_storage()._cdata


@pytest.mark.parametrize("changes", [["labels=sglr"], ["objective=trades", "regularizers=[awp]"], ["labels=te"]])
def test_a_run_counts_the_same_without_memory(monkeypatch, changes):
    config = apply_overrides(
        recipe("digits-hard"),
        ["model={name: small-cnn, width: 4}", "attack.n_steps=2", "probes.metrics=none", *changes],
    )
    workload._counts.cache_clear()
    remembered = workload.workload(config).counts
    monkeypatch.setattr(counting, "result_of", lambda func, args, kwargs: func(*args, **kwargs))
    workload._counts.cache_clear()
    assert workload.workload(config).counts == remembered
