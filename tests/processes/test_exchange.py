"""What processes tell each other, held against one process that has everything."""

import pickle

import pytest
import torch
from together import together
from torch import nn

from overfit_lab.errors import ConfigError, ProbeError
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.processes.draws import draw, for_rows
from overfit_lab.processes.norms import SynchronisedNorms
from overfit_lab.processes.share import Share, share_of
from overfit_lab.processes.world import ALONE
from overfit_lab.types import Batch

N = 13


def images():
    return torch.randn(N, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * 3 + 50


def network(momentum=0.1):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.BatchNorm2d(3, momentum=momentum), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 6), nn.BatchNorm1d(6), nn.Linear(6, 2),
    )  # fmt: skip
    return net.double()


def passed(net, x, share, norms):
    """Loss, gradients to images and weights, and buffers of a pass in train mode over a process's rows."""
    x = x[share.rows].double().requires_grad_()
    with norms:
        loss = share.weighted(net(x).square().sum(dim=1).mean())
        loss.backward()
    return loss.detach(), x.grad, [p.grad for p in net.parameters()], [b.clone() for b in net.buffers()]


def exchanges(world):
    """One of each exchange, in a process."""
    share = world.share(N)
    found = {"share": share}
    rows = torch.arange(2.0 * N).view(N, 2)
    found["whole"] = world.gather(rows[share.rows], share)
    few = world.share(3)
    found["few"] = (few, world.gather(rows[:3], few))
    sums = [torch.full((2, 3), float(world.rank + 1)), torch.tensor([10.0 * (world.rank + 1)])]
    sums.append(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last).add_(world.rank))
    world.all_reduce(sums)
    found["sums"] = sums
    found["given"] = world.broadcast({"rank": world.rank}, 1)
    found["at"] = world.run_on_rank(1, lambda: f"made by {world.rank}")
    found["shared out"] = list(world.distribute([lambda i=i: (i, world.rank) for i in range(5)]))
    for name, call in {
        "refused at": lambda: world.run_on_rank(0, refuse),
        "refused task": lambda: list(world.distribute([lambda: 1, refuse, lambda: 3])),
    }.items():
        try:
            call()
        except (ConfigError, ProbeError) as error:
            found[name] = str(error)
    order = []
    world.run_rank_0_first(lambda: order.append(world.rank))
    found["in turn"] = order
    generator = torch.Generator().manual_seed(5)
    own = for_rows(generator, share.rows, N)
    clean = torch.rand(N, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    found["draws"] = [
        draw(torch.rand, clean[share.rows].shape, own, dtype=torch.float32),
        ThreatModel("linf", 0.1).random_start(clean[share.rows], own),
        ThreatModel("l2", 0.5).random_start(clean[share.rows], own),
    ]
    found["norms"] = {
        momentum: passed(network(momentum), images(), share, world.norms(share)) for momentum in (0.1, None)
    }
    found["small batch"] = passed(network(), images()[:3], few, world.norms(few))
    net = network()
    for norm in (m for m in net if isinstance(m, nn.modules.batchnorm._BatchNorm)):
        norm.track_running_stats = False
    found["unmoved"] = passed(net, images(), share, world.norms(share))
    found["eval"] = passed(network().eval(), images(), share, world.norms(share))
    return found


def refuse():
    raise ProbeError("nothing to measure")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return together(exchanges, folder=tmp_path_factory.mktemp("exchanges"))


def test_rows_make_up_the_batch(found):
    rows = torch.arange(2.0 * N).view(N, 2)
    for one in found:
        assert torch.equal(one["whole"], rows)
        assert not one["few"][0].is_split
        assert torch.equal(one["few"][1], rows[:3])
    assert [one["share"].size for one in found] == [7, 6]
    assert sum(one["share"].weight for one in found) == pytest.approx(1)


def test_sums_and_what_is_given(found):
    for one in found:
        a, b, c = one["sums"]
        assert torch.equal(a, torch.full((2, 3), 3.0))
        assert b.item() == 30
        assert torch.equal(c, torch.ones(2, 3, 4, 4))
        assert one["given"] == {"rank": 1}
        assert one["at"] == "made by 1"
        assert one["shared out"] == [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0)]
    assert [one["in turn"] for one in found] == [[0], [1]]


def test_what_one_process_refuses_all_of_them_refuse(found):
    for one in found:
        assert one["refused at"] == one["refused task"] == "nothing to measure"


def test_draws_are_the_rows_of_the_whole_draw(found):
    generator = torch.Generator().manual_seed(5)
    clean = torch.rand(N, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    whole = [
        draw(torch.rand, clean.shape, generator, dtype=torch.float32),
        ThreatModel("linf", 0.1).random_start(clean, generator),
        ThreatModel("l2", 0.5).random_start(clean, generator),
    ]
    for one in found:
        for part, all_rows in zip(one["draws"], whole, strict=True):
            assert torch.equal(part, all_rows[one["share"].rows])


@pytest.mark.parametrize("momentum", [0.1, None])
def test_synchronised_norms_are_those_of_the_whole_batch(found, momentum):
    loss, to_images, to_weights, buffers = passed(network(momentum), images(), Share(N), ALONE.norms(Share(N)))
    parts = [one["norms"][momentum] for one in found]
    assert sum(part[0] for part in parts).item() == pytest.approx(loss.item(), rel=1e-12)
    for one, part in zip(found, parts, strict=True):
        torch.testing.assert_close(part[1], to_images[one["share"].rows], rtol=1e-9, atol=1e-12)
        for mine, theirs in zip(part[3], buffers, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    for i, gradient in enumerate(to_weights):
        torch.testing.assert_close(sum(part[2][i] for part in parts), gradient, rtol=1e-9, atol=1e-11)


def test_a_small_batch_is_worked_on_as_a_whole(found):
    loss, to_images, _, buffers = passed(network(), images()[:3], Share(3), ALONE.norms(Share(3)))
    for one in found:
        part = one["small batch"]
        assert torch.equal(2 * part[0], loss)
        assert torch.equal(2 * part[1], to_images)
        assert all(torch.equal(a, b) for a, b in zip(part[3], buffers, strict=True))


def test_statistics_that_are_not_to_move_do_not(found):
    before = list(network().buffers())
    for one in found:
        assert all(torch.equal(a, b) for a, b in zip(one["unmoved"][3], before, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(one["eval"][3], before, strict=True))
    unmoved, moved = found[0]["unmoved"], found[0]["norms"][0.1]
    assert torch.equal(unmoved[0], moved[0])


def test_outside_the_context_batch_norm_is_torchs_own():
    x, net = images().double(), network()
    with SynchronisedNorms():  # in eval mode nothing is exchanged, so that no process group is needed
        inside = net.eval()(x)
    assert torch.equal(inside, net(x))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("paired", [False, True])
def test_shares_are_a_partition(size, paired):
    for n in range(1, 40):
        shares = [share_of(n, rank, size, paired) for rank in range(size)]
        rows = [list(range(n)[share.rows]) for share in shares]
        assert sum(share.weight for share in shares) == pytest.approx(1)
        if shares[0].is_split:
            assert sorted(row for own in rows for row in own) == list(range(n))
            assert min(map(len, rows)) >= 2
            assert all(share.weight == pytest.approx(len(own) / n) for share, own in zip(shares, rows, strict=True))
            if paired:
                for own in rows:
                    half = len(own) // 2
                    assert [j - i for i, j in zip(own[:half], own[half:], strict=True)] == [n // 2] * half
        else:
            assert rows == [list(range(n))] * size
            assert size == 1 or n < 2 * size or paired


def test_a_share_takes_rows_of_everything_with_rows():
    batch = Batch(torch.rand(6, 1, 2, 2), torch.arange(6), torch.arange(6) + 10)
    own = share_of(6, 1, 2).take(batch)
    assert own.index.tolist() == [11, 13, 15]
    assert torch.equal(own.x, batch.x[1::2])


def test_shares_travel():
    assert pickle.loads(pickle.dumps(share_of(9, 1, 3))) == share_of(9, 1, 3)
