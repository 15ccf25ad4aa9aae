"""A faster way to the derivatives is used only where it gives those of the plain network."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from overfit_lab.errors import ProbeError
from overfit_lab.models.compute.agreement import is_samplewise
from overfit_lab.models.compute.derivatives import WAYS, fastest_way, random_direction
from overfit_lab.models.compute.folded import folded
from overfit_lab.models.compute.verdicts import MOST, Verdicts
from overfit_lab.models.preact_resnet import preact_resnet18
from overfit_lab.models.spec import ModelSpec
from overfit_lab.probes.metrics.directional import logit_derivatives, refuse_mixing
from overfit_lab.probes.metrics.per_sample_norms import gradient_way, per_sample_norms


class Net(nn.Module):
    """Convolution, batch norm and a linear layer, with something in between."""

    def __init__(self, between):
        super().__init__()
        self.conv, self.bn, self.fc, self.between = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.Linear(6, 4),
            between,
        )

    def forward(self, x):
        return self.fc(self.between(self.bn(self.conv(x))))


def dropped(h):
    functional.relu_(h)
    return h.mean((2, 3))


def aliased(h):
    g = h
    h.clamp_(min=0)
    return (g + h).mean((2, 3))


def chunked(h):
    a, b = h.chunk(2, 1)
    return torch.cat([a.relu(), b.tanh()], 1).mean((2, 3)).view(h.size(0), -1)


def greatest(h):
    m, v = h.max(dim=1, keepdim=True)[0], h.flatten(2).topk(2, dim=2)[0]
    return (h * m).mean((2, 3)) + v.sum(2)


def without_gradient(h):
    with torch.no_grad():
        mask = h.tanh()
    return (h.relu() * mask).mean((2, 3))


class Opaque(torch.autograd.Function):
    """Neither forward mode nor a second derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x > 0)


def opaque(h):
    if h.isnan().any():  # cannot be traced
        raise ValueError
    return Opaque.apply(h).mean((2, 3))


def plain(h):
    return h.relu().mean((2, 3))


FORMS = {
    plain: "folded",
    dropped: "forward-mode",
    aliased: "forward-mode",
    chunked: "folded",
    greatest: "folded",
    without_gradient: "double-backward",
    opaque: "per-sample",
}


def net(between, dtype=torch.float32):
    torch.manual_seed(0)
    model = Net(between)
    model.bn.running_mean.normal_()
    model.bn.running_var.uniform_(0.5, 2)
    return model.to(dtype).eval()


def dense(model, direction, x):
    """J d from one gradient a sample and class."""
    names = list(direction)
    weights = [dict(model.named_parameters())[name] for name in names]
    rows = []
    for image in x.split(1):
        z = model(image)[0]
        gradients = [torch.autograd.grad(logit, weights, retain_graph=True, allow_unused=True) for logit in z]
        rows.append(
            [
                sum((g * direction[n]).sum().item() for g, n in zip(row, names, strict=True) if g is not None)
                for row in gradients
            ]
        )
    return torch.tensor(rows)


@pytest.mark.parametrize("between", FORMS, ids=lambda between: between.__name__)
def test_products_are_those_of_the_plain_network(between):
    model, x = net(between), torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    g = torch.Generator().manual_seed(2)
    direction = {name: torch.randn(p.shape, generator=g) for name, p in model.named_parameters()}
    ((_, moved),) = logit_derivatives(model, x, direction, 5)
    torch.testing.assert_close(moved, dense(model, direction, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("between", "expected"), FORMS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_the_fastest_way_that_holds_is_gone(between, expected):
    model, x = net(between), torch.rand(3, 3, 8, 8)
    assert fastest_way(model, random_direction(model, dict(model.named_parameters())), x) == expected


def test_a_way_whose_numbers_are_wrong_is_passed_over(monkeypatch):
    model, x = net(plain), torch.rand(3, 3, 8, 8)
    direction = random_direction(model, dict(model.named_parameters()))
    right = WAYS["folded"]

    def off(*arguments):
        moved = right(*arguments)
        return lambda images: (moved(images)[0], moved(images)[1] * 1.01)

    monkeypatch.setitem(WAYS, "folded", off)
    assert fastest_way(model, direction, x) == "forward-mode"


def test_formulas_that_do_not_hold_give_way_to_gradients(monkeypatch):
    from overfit_lab.probes.metrics.layer_kinds.linear import LinearKind

    right = LinearKind.squared_norm

    def off(self, *arguments):
        return {name: value * 1.01 for name, value in right(self, *arguments).items()}

    model, x = net(plain), torch.rand(3, 3, 8, 8)
    targets = torch.full((3, 4), 0.25)
    expected = per_sample_norms(model, x, targets)
    assert expected.via == gradient_way(model, x) == "layers"
    monkeypatch.setattr(LinearKind, "squared_norm", off)
    other = net(plain)
    found = per_sample_norms(other, x, targets)
    assert found.via == "per-sample"
    torch.testing.assert_close(found.norms, expected.norms, rtol=1e-5, atol=0)


def test_a_network_that_mixes_its_batch_is_refused():
    model, x = net(lambda h: (h - h.mean(dim=0)).mean((2, 3))), torch.rand(3, 3, 8, 8)
    with pytest.raises(ProbeError, match="depend on the others of its batch"):
        refuse_mixing(model, x)
    refuse_mixing(net(plain), x)


def test_a_network_without_finite_logits_is_not_called_mixing():
    model = net(plain)
    with torch.no_grad():
        model.fc.bias[0] = torch.nan
    x = torch.rand(3, 3, 8, 8)
    assert is_samplewise(model, x) is None
    refuse_mixing(model, x)


def work(compute):
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops()


def test_a_trial_takes_some_passes_of_two_images_and_the_next_question_none():
    torch.manual_seed(0)
    model, x = preact_resnet18(ModelSpec(4, (3, 16, 16)), width=4).eval(), torch.rand(8, 3, 16, 16)
    direction = random_direction(model, dict(model.named_parameters()))
    with torch.no_grad():
        two = work(lambda: model(x[:2]))
    for question, passes in (
        (lambda: refuse_mixing(model, x), 3),
        (lambda: fastest_way(model, direction, x), 20),
        (lambda: gradient_way(model, x), 10),
    ):
        assert 0 < work(question) <= passes * two
        assert work(question) == 0


def test_a_fold_that_cannot_be_followed_says_nothing(capfd):
    """In the fold convolutions give channels-last memory, which a view of all numbers in a row cannot be of."""
    model = net(lambda h: h.relu().view(h.size(0), -1)[:, :6])
    assert folded(model, torch.rand(3, 3, 8, 8)) is None
    assert capfd.readouterr() == ("", "")


def test_an_answer_holds_until_the_form_changes_or_it_is_old():
    verdicts, model, asked = Verdicts(3), net(plain), []

    def trial():
        asked.append(1)
        return len(asked)

    assert [verdicts.of(model, "key", trial) for _ in range(4)] == [1, 1, 1, 2]
    model.switch = True
    assert verdicts.of(model, "key", trial) == 3
    model.train()
    assert verdicts.of(model, "key", trial) == 4
    assert verdicts.of(model, "other", trial) == 5
    assert len({verdicts.of(model, i, trial) for i in range(2 * MOST)}) == 2 * MOST
    assert len(next(iter(verdicts._known.values()))) == MOST
