"""The folded network is the model's eval-mode function, to rounding, or it is not used."""

import copy
import gc
import warnings
import weakref

import pytest
import torch
from torch import nn
from torch.func import jvp
from torch.nn import functional

from overfit_lab.config.catalog import MODELS
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.compute.agreement import agree
from overfit_lab.models.compute.duals import dual_logits
from overfit_lab.models.compute.folded import folded
from overfit_lab.models.compute.folding import FoldedModel, NotFoldable, state_of
from overfit_lab.models.normalize import InFront, Normalize, put_in_front
from overfit_lab.models.spec import ModelSpec
from overfit_lab.seeds import derive_generator


def trained_looking(model, seed=0):
    """The model with batch norm as after training: no statistic is 0 or 1."""
    stream = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
            ):
                if tensor is not None:
                    tensor.data.uniform_(low, high, generator=stream)
    return model.eval()


class Strange(nn.Module):
    """What strangers' networks do: in-place ReLU and addition, groups, a bias before batch norm, a bare parameter,
    one batch norm called twice, one without affine parameters, one without running statistics, dropout.
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)
        self.bn2 = nn.BatchNorm2d(8, affine=False)
        self.conv3 = nn.Conv2d(8, 8, 1)
        self.twice = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.gain = nn.Parameter(torch.full((8, 1, 1), 1.3))
        self.register_buffer("offset", torch.tensor(0.2))
        self.fc = nn.Linear(8, 6)
        self.bn4 = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        out = self.act(self.bn1(self.conv1(x)))
        skip = out * self.gain + self.offset
        out = self.bn2(self.conv2(out))
        out += skip
        out = self.twice(self.conv3(self.act(out)))
        out = self.drop(functional.relu(self.twice(out)))
        return self.head(functional.relu(self.bn4(self.fc(out.mean((2, 3))))))


class ValueDependent(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x):
        out = self.bn(self.conv(x))
        if out.mean() > 0:
            out = -out
        return self.head(out.mean((2, 3)))


def build(name, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return trained_looking(MODELS[name](ModelSpec(5, (3, 16, 16), (0.4,) * 3, (0.2,) * 3), **options))


IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=["preact", "resnet", "resnet20", "strange"])
def model(request):
    if request.param == "strange":
        torch.manual_seed(0)
        return trained_looking(Strange())
    options = {"width": 4} if request.param != "resnet20" else {}
    return build({"preact": "preact-resnet18", "resnet": "resnet18"}.get(request.param, request.param), **options)


def gradient(network, x):
    x = x.clone().requires_grad_(True)
    logits = network(x)
    weights = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (found,) = torch.autograd.grad((logits * weights).sum(), x)
    return logits.detach(), found


def test_logits_and_input_gradients_are_those_of_the_model(model):
    twin = folded(model, IMAGES)
    assert twin is not None
    for found, expected in zip(gradient(twin, IMAGES), gradient(model, IMAGES), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_in_double_precision_they_agree_to_twelve_digits(model):
    model.double()
    twin = FoldedModel(model)
    for found, expected in zip(gradient(twin, IMAGES.double()), gradient(model, IMAGES.double()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_every_norm_after_a_convolution_is_gone():
    model = build("preact-resnet18", width=4)
    twin = folded(model, IMAGES)
    kinds = [type(module).__name__ for module in twin.network.modules()]
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert kinds.count("BatchNorm2d") == 0
    assert kinds.count("Affine") == norms - 8  # the second norm of each of eight blocks is in its first convolution


def test_it_follows_the_weights_and_leaves_them_alone(model):
    twin = folded(model, IMAGES)
    before = model(IMAGES)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.1)
    trained_looking(model, seed=5)
    assert not torch.allclose(model(IMAGES), before, rtol=0.01)
    again = folded(model, IMAGES)
    assert again is twin
    torch.testing.assert_close(again(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)
    assert not any(p.requires_grad for p in again.parameters())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_the_fold_is_differentiable_in_the_weights(model):
    """A forward-mode product through the folded network equals the one through the model."""
    model.double()
    twin = FoldedModel(model)
    state = state_of(model)
    names = dict(model.named_parameters())
    stream = torch.Generator().manual_seed(3)
    direction = {name: torch.randn(p.shape, generator=stream, dtype=p.dtype) for name, p in names.items()}
    weights = {name: state[name] for name in names}
    x = IMAGES.double()
    expected = jvp(lambda w: torch.func.functional_call(model, w, (x,)), (weights,), (direction,))

    def through(w):
        return torch.func.functional_call(twin.network, twin.fold({**state, **w}), (x,))

    found = jvp(through, (weights,), (direction,))
    _, moves = jvp(lambda w: twin.fold({**state, **w}, moved=w), (weights,), (direction,))
    for piece in (None, 4):
        twin.piece = piece
        for pair in (found, dual_logits(twin, moves, x)):
            for a, b in zip(pair, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_each_single_parameter_has_the_derivative_of_the_model(model):
    """Directions in one tensor alone, so that every rule meets inputs with a tangent and without."""
    model.double()
    twin, state, x = FoldedModel(model), state_of(model), IMAGES.double()
    for name, parameter in model.named_parameters():
        weights = {name: state[name]}
        direction = {name: torch.linspace(-1, 1, parameter.numel(), dtype=x.dtype).view_as(parameter)}
        expected = jvp(lambda w: torch.func.functional_call(model, w, (x,)), (weights,), (direction,))
        _, moves = jvp(lambda w: twin.fold({**state, **w}, moved=w), (weights,), (direction,))
        for a, b in zip(dual_logits(twin, moves, x), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_duals_leave_the_network_as_it_is(model):
    twin, state = folded(model, IMAGES), state_of(model)
    before = {name: value.clone() for name, value in twin.network.state_dict().items()}
    moves = {name: value.clone() for name, value in twin.fold(state).items() if value.is_floating_point()}
    kept = {name: value.clone() for name, value in moves.items()}
    images = IMAGES.clone()
    first, second = dual_logits(twin, moves, images), dual_logits(twin, moves, images)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(images, IMAGES)
    assert all(torch.equal(before[name], value) for name, value in twin.network.state_dict().items())
    assert all(torch.equal(kept[name], value) for name, value in moves.items())


def test_what_cannot_be_folded_is_refused_with_a_reason():
    with pytest.raises(NotFoldable, match="depends on values"):
        FoldedModel(trained_looking(ValueDependent()))
    with pytest.raises(NotFoldable, match="no batch norm"):
        FoldedModel(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 196, 5)).eval())
    for unused in (ValueDependent(), nn.Sequential(nn.Flatten(), nn.Linear(768, 5))):
        assert folded(unused.eval(), IMAGES) is None


def test_a_compiled_or_scripted_model_is_asked_itself_or_folded():
    """A model compiled in place is folded as it would be without; one in a wrapper of the compiler is not traced."""
    model = build("preact-resnet18", width=4)
    model.compile(backend="eager")
    calls = model._compiled_call_impl
    assert folded(model, IMAGES) is not None
    assert model._compiled_call_impl is calls
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(build("preact-resnet18", width=4), IMAGES)
    assert folded(scripted, IMAGES) is None
    assert scripted(IMAGES).shape == (6, 5)
    torch.compiler.reset()


def test_a_model_that_somebody_listens_to_is_asked_itself():
    model, calls = build("preact-resnet18", width=4), []
    folded(model, IMAGES)
    handle = model.conv1.register_forward_hook(lambda *_: calls.append(1))
    assert folded(model, IMAGES) is None
    PGD(ThreatModel(eps=0.1), step_size=0.03, n_steps=3)(
        model, IMAGES, lambda z: z.logsumexp(1), generator=derive_generator(0)
    )
    assert len(calls) == 3
    handle.remove()
    assert folded(model, IMAGES) is not None


def test_normalisation_in_front_is_folded_with_it():
    torch.manual_seed(0)
    model = put_in_front(trained_looking(Strange()), Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    twin = folded(model, IMAGES)
    torch.testing.assert_close(twin(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(twin(IMAGES), twin(IMAGES / 2))


def test_a_replaced_module_makes_a_new_one():
    model = build("preact-resnet18", width=4)
    old = folded(model, IMAGES)
    model.linear = nn.Linear(32, 7)
    new = folded(model, IMAGES)
    assert new is not old
    assert new(IMAGES).shape == (6, 7)


def test_normalisation_that_comes_and_goes_is_folded_once():
    """As a monitor has it: the hook is there while it looks, and a new one the next time."""
    torch.manual_seed(0)
    model, normalize = trained_looking(Strange()), Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    bare = folded(model, IMAGES)
    twins = []
    for _ in range(40):
        handle = model.register_forward_pre_hook(InFront(normalize))
        twins.append(folded(model, IMAGES))
        torch.testing.assert_close(twins[-1](IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)
        handle.remove()
        assert folded(model, IMAGES) is bare
    assert twins[0] is not None
    assert all(twin is twins[0] for twin in twins)


class Switched(nn.Module):
    """A network with a switch of its own, and one that counts its calls."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)
        self.doubled, self.n_calls, self.counts = False, 0, False

    def forward(self, x):
        if self.counts:
            self.n_calls += 1
        out = self.head(self.bn(self.conv(x)).mean((2, 3)))
        return 2 * out if self.doubled else out


def test_a_switch_is_heeded_at_once():
    torch.manual_seed(0)
    model = trained_looking(Switched())
    before = folded(model, IMAGES)(IMAGES)
    model.doubled = True
    torch.testing.assert_close(folded(model, IMAGES)(IMAGES), 2 * before)
    stream = build("preact-resnet18", width=4)
    plain = folded(stream, IMAGES)(IMAGES)
    stream.normalize.set(torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(folded(stream, IMAGES)(IMAGES), stream(IMAGES), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain, stream(IMAGES), rtol=1e-2)


def test_of_a_network_that_changes_all_the_time_there_is_none():
    torch.manual_seed(0)
    model = trained_looking(Switched())
    model.counts = True
    found = []
    for _ in range(40):
        found.append(folded(model, IMAGES) is not None)
        model.n_calls += 1
    assert found[0]
    assert not any(found[20:])


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_a_listener_of_any_kind_is_heard_also_when_it_comes_later(kind):
    model = build("preact-resnet18", width=4)
    assert folded(model, IMAGES) is not None
    register = getattr(model.linear, f"register_{kind}_hook")
    handle = register(lambda *_: None)
    assert folded(model, IMAGES) is None
    handle.remove()
    assert folded(model, IMAGES) is not None


class Batchwise(nn.Module):
    """One batch norm of running statistics, and one of the batch's own also in eval mode."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.mixing, self.head = nn.BatchNorm2d(4, track_running_stats=False), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(functional.relu(self.mixing(self.bn(self.conv(x)))).mean((2, 3)))


def test_samples_that_depend_on_each_other_are_not_taken_apart():
    torch.manual_seed(0)
    model = trained_looking(Batchwise())
    images = torch.rand(300, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    twin = folded(model, images)
    assert twin.piece is None
    torch.testing.assert_close(twin(images), model(images), rtol=1e-4, atol=1e-5)
    assert folded(build("preact-resnet18", width=4), images).piece is not None


def test_a_network_that_no_longer_agrees_is_not_used_again():
    model = build("preact-resnet18", width=4)
    twin = folded(model, IMAGES)
    model.forward_was, model.__class__ = (
        None,
        type("Other", (type(model),), {"forward": lambda self, x: other(self, x)}),
    )

    def other(self, x):
        return type(model).__mro__[1].forward(self, x).flip(1)

    assert not agree(model, twin, IMAGES[:2])
    results = [folded(model, IMAGES) for _ in range(256)]
    assert results[0] is twin  # not looked at every time
    assert results[-1] is None
    assert folded(model, IMAGES) is None


def test_nothing_is_kept_of_a_model_that_is_gone():
    model = build("preact-resnet18", width=4)
    folded(model, IMAGES)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_copy_has_a_network_of_its_own():
    model = build("preact-resnet18", width=4)
    twin = folded(model, IMAGES)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.linear.bias.add_(1)
    torch.testing.assert_close(folded(other, IMAGES)(IMAGES), folded(model, IMAGES)(IMAGES) + 1, rtol=1e-4, atol=1e-5)
    assert folded(model, IMAGES) is twin


@pytest.mark.parametrize("train", [True, False])
def test_modes_and_statistics_stay_as_they_are(train):
    model = build("preact-resnet18", width=4).train(train)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded(model, IMAGES)
    assert all(module.training is train for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Bent(nn.Module):
    """The model with its logits moved, or with its gradient turned at the same logits."""

    def __init__(self, model, shift=0.0, turn=1.0):
        super().__init__()
        self.model, self.shift, self.turn = model, shift, turn

    def forward(self, x):
        straight = self.model(x)
        bent = self.model(x.flip(3))
        return straight * (1 + self.shift) + (self.turn - 1) * (bent - bent.detach())


def test_agreement_is_about_logits_and_gradients(model):
    """A ReLU's kink within rounding may turn a gradient a little; another function or another gradient is seen."""
    assert agree(model, folded(model, IMAGES), IMAGES)
    assert not agree(model, Bent(model, shift=0.01), IMAGES)
    assert not agree(model, Bent(model, turn=2.0), IMAGES)
    assert not agree(model, lambda x: model(x).detach() + 0 * x.sum(), IMAGES)
    assert not agree(model, lambda x: model(x).detach(), IMAGES)
    assert agree(lambda x: model(x).detach(), lambda x: model(x).detach(), IMAGES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert agree(model, folded(model, IMAGES), IMAGES)
        assert not agree(model, Bent(model, shift=0.2), IMAGES)


@pytest.mark.parametrize("factor", [1e-20, 1e-8, 1e8])
def test_agreement_does_not_depend_on_the_scale_of_the_logits(model, factor):
    def scaled(net):
        return lambda x: factor * net(x)

    assert agree(scaled(model), scaled(folded(model, IMAGES)), IMAGES)
    assert not agree(scaled(model), scaled(Bent(model, shift=0.01)), IMAGES)
    assert not agree(scaled(model), scaled(Bent(model, turn=2.0)), IMAGES)


@pytest.mark.parametrize("seed", range(6))
def test_kinks_do_not_rule_a_network_out(seed):
    """Of wide networks on many images some input of some ReLU is always within rounding of 0."""
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    wide = trained_looking(MODELS["preact-resnet18"](ModelSpec(5, (3, 16, 16), (0.4,) * 3, (0.2,) * 3), width=16))
    assert agree(wide, folded(wide, images), images)


@pytest.mark.parametrize("piece", [1, 4, 5, None])
def test_in_pieces_it_gives_the_same(model, piece):
    twin = folded(model, IMAGES)
    expected = gradient(model, IMAGES)
    sizes = []
    inner = twin.network.forward
    twin.network.forward = lambda x: sizes.append(len(x)) or inner(x)
    twin.piece = piece
    for found, right in zip(gradient(twin, IMAGES), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)
    assert sizes == {1: [1] * 6, 4: [4, 2], 5: [5, 1], None: [6]}[piece]


def test_pieces_fit_the_largest_output_into_the_cache():
    """At width 16 the largest output of an operation is 16 channels of 32x32, 64 KiB an image."""
    images = torch.rand(2, 3, 32, 32)
    model = MODELS["preact-resnet18"](ModelSpec(5, (3, 32, 32), (0.4,) * 3, (0.2,) * 3), width=16).eval()
    assert folded(model, images).piece == 64
    tiny = MODELS["preact-resnet18"](ModelSpec(5, (3, 32, 32), (0.4,) * 3, (0.2,) * 3), width=4).eval()
    assert folded(tiny, images).piece == 256
    assert folded(tiny, torch.rand(2, 3, 256, 256)).piece == 32


def test_attacks_on_it_reach_the_loss_of_attacks_on_the_model():
    """Signs of gradients near 0 may differ, so single pixels may; the loss that is reached may not."""
    model = build("preact-resnet18", width=8)
    y = torch.arange(6) % 5

    def loss(z):
        return functional.cross_entropy(z, y, reduction="none")

    losses, images = {}, {}
    for fold in (True, False):
        attack = PGD(ThreatModel(eps=0.05), step_size=0.0125, n_steps=10, fold=fold)
        images[fold] = attack(model, IMAGES, loss, generator=derive_generator(0, "a"))
        losses[fold] = loss(model(images[fold])).detach()
    torch.testing.assert_close(losses[True], losses[False], rtol=1e-3, atol=1e-4)
    assert (images[True] != images[False]).float().mean() < 0.02


def under_autocast(run):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return run()


def test_under_autocast_weights_and_activations_are_in_bfloat16(model):
    twin = under_autocast(lambda: folded(model, IMAGES))
    assert twin.dtype == torch.bfloat16
    assert twin is not folded(model, IMAGES)
    tensors = [*twin.network.named_parameters(), *twin.network.named_buffers()]
    wide = {name for name, tensor in tensors if tensor.dtype == torch.float32}
    assert all("mean" in name or "std" in name or "gain" in name or "offset" in name for name in wide)
    seen = []
    for module in twin.network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    logits, slope = under_autocast(lambda: gradient(twin, IMAGES))
    assert len(seen) > 5
    assert set(seen) == {torch.bfloat16}
    assert logits.dtype == slope.dtype == torch.float32
    expected, straight = gradient(model, IMAGES)
    assert (logits - expected).abs().max() < 0.03 * expected.abs().max()
    assert functional.cosine_similarity(slope.flatten(), straight.flatten(), dim=0) > 0.97


def test_in_bfloat16_the_present_weights_count(model):
    under_autocast(lambda: folded(model, IMAGES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * parameter.abs().mean() * torch.randn(parameter.shape, generator=_stream()))
    twin = under_autocast(lambda: folded(model, IMAGES))
    assert under_autocast(lambda: agree(model, twin, IMAGES))
    assert agree(model, folded(model, IMAGES), IMAGES)


def _stream():
    return torch.Generator().manual_seed(3)


class Insists(nn.Module):
    """Converts back to float32 by itself, which weights in half precision do not go with."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(functional.relu(self.bn(self.conv(x))).float().mean((2, 3)))


def test_what_cannot_be_in_bfloat16_is_folded_all_the_same():
    network = trained_looking(Insists())
    twin = under_autocast(lambda: folded(network, IMAGES))
    assert twin.dtype == torch.float32
    assert under_autocast(lambda: agree(network, twin, IMAGES))


def test_pixels_are_normalised_before_they_are_rounded():
    model = put_in_front(build("preact-resnet18", width=4), Normalize((0.9,) * 3, (0.05,) * 3))
    twin = under_autocast(lambda: folded(model, IMAGES))
    first = next(module for module in twin.network.modules() if isinstance(module, nn.Conv2d))
    seen = []
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    twin(IMAGES)
    expected = (((IMAGES - 0.9) / 0.05) - 0.4) / 0.2
    torch.testing.assert_close(seen[0], expected.bfloat16(), rtol=2**-7, atol=1e-3)
    near_white = (seen[0].float() - expected)[IMAGES > 0.9].abs().max() * 0.2 * 0.05
    assert near_white < 1 / 4 * (IMAGES.bfloat16().float() - IMAGES)[IMAGES > 0.9].abs().max()
