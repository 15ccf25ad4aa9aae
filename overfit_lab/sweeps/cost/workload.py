"""The arithmetic of a run by part, without any device."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from overfit_lab.config import Part, RunConfig
from overfit_lab.methods.regularizers.average import CHUNK as STATISTICS_CHUNK
from overfit_lab.sweeps.cost.data_shape import DataShape, data_shape
from overfit_lab.sweeps.cost.network import Network, network_of
from overfit_lab.sweeps.cost.rehearsal import Passes, Rehearsal, rehearse
from overfit_lab.training.complete import complete

TRAINING = ("attack", "update")


@dataclass(frozen=True)
class Work:
    """Floating-point operations, and how many operations they come in."""

    flops: int = 0
    calls: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.calls + other.calls)


@dataclass(frozen=True)
class Workload:
    """What a run has to do.

    Args:
        config: the run, complete.
        data: its splits.
        network: its network.
        rehearsal: its passes.
        parts: work of ``attack``, ``update`` and ``evaluation``.
        n_steps: steps in all.
        n_exchanges: gradients that several devices would have to sum, in all.
        teachers: the runs that are trained first.
    """

    config: RunConfig
    data: DataShape
    network: Network
    rehearsal: Rehearsal
    parts: dict[str, Work]
    n_steps: int
    n_exchanges: int
    teachers: dict[str, Workload] = field(default_factory=dict)

    @property
    def training(self) -> Work:
        """Attack and update together."""
        return self.parts["attack"] + self.parts["update"]

    @property
    def attack_share(self) -> float:
        """The attack's share of the training's arithmetic, in [0, 1]."""
        return self.parts["attack"].flops / max(self.training.flops, 1)

    @property
    def evaluated(self) -> dict[str, int]:
        """Images by split that an evaluation makes."""
        return evaluated(self.config, self.data)


def workload(config: RunConfig, data: DataShape | None = None) -> Workload:
    """Rehearse a run and count.

    Args:
        config: the run.
        data: its splits, where they are known otherwise.

    Raises:
        ConfigError: a wrong configuration, or a data set whose size is not known; one line.

    Cost: a network drawn, and some milliseconds for each of the run's epochs; no data.
    """
    config = complete(config)
    data = data if data is not None else data_shape(config.data, config.seed)
    network = _network(config.model.model_dump_json(), data)
    rehearsal = rehearse(config, data, norm=network.norm)
    n_images, n_batches = per_epoch(data.n_train, config.batch_size)
    training = rehearsal.training()
    parts = {
        part: work_of(_of(training, part), network, n_images, n_batches, rehearsal.other_calls(part) * n_batches)
        for part in TRAINING
    }
    parts["evaluation"] = _evaluation(config, data, network, rehearsal)
    backward = training.get(("update", "to_weights"), 0.0) / max(rehearsal.graphs, 1)
    return Workload(
        config=config,
        data=data,
        network=network,
        rehearsal=rehearsal,
        parts=parts,
        n_steps=config.epochs * n_batches,
        n_exchanges=round(backward * n_batches),
        teachers={name: workload(other, data) for name, other in rehearsal.teachers.items()},
    )


def per_epoch(n_train: int, batch_size: int) -> tuple[int, int]:
    """Images and batches of an epoch; a last batch of one image is left out, as the loader does."""
    whole, rest = divmod(n_train, batch_size)
    if rest == 1 and whole:
        return n_train - 1, whole
    return n_train, whole + (rest > 0)


def evaluated(config: RunConfig, data: DataShape) -> dict[str, int]:
    """Images by split that an evaluation makes: whole chunks, so a few more than it looks at."""
    wanted = {"train": config.evaluation.n_train, "val": config.evaluation.n_val, "test": config.evaluation.n_test}
    chunk = config.evaluation.chunk
    return {name: min(-(-(wanted[name] or size) // chunk) * chunk, size) for name, size in data.sizes.items() if size}


@lru_cache(maxsize=16)
def _network(part: str, data: DataShape) -> Network:
    return network_of(Part.model_validate_json(part), data)


def _of(passes: Passes, part: str) -> dict[str, float]:
    return {kind: n for (name, kind), n in passes.items() if name == part}


def work_of(passes: dict[str, float], network: Network, n_images: int, n_batches: int, others: float = 0) -> Work:
    """Work of passes of an image, of so many images in so many batches.

    Args:
        passes: by kind; a teacher's count as those of the run's own network.
        network: the network.
        n_images: images in all.
        n_batches: batches in all.
        others: operations beside the network's.
    """
    of_kind = {"teacher": "forward"}
    flops = sum(n * network.flops[of_kind.get(kind, kind)] for kind, n in passes.items()) * n_images
    calls = sum(n * network.calls[of_kind.get(kind, kind)] for kind, n in passes.items()) * n_batches
    return Work(round(flops), round(calls + others))


def _evaluation(config: RunConfig, data: DataShape, network: Network, rehearsal: Rehearsal) -> Work:
    sizes, chunk = evaluated(config, data), config.evaluation.chunk
    n_images = sum(sizes.values()) * rehearsal.n_evaluations
    n_chunks = sum(-(-n // chunk) for n in sizes.values()) * rehearsal.n_evaluations
    others = rehearsal.evaluation_calls * n_chunks
    found = work_of(_of(rehearsal.evaluation, "evaluation"), network, n_images, n_chunks, others)
    rest = data.n_train % STATISTICS_CHUNK
    of_statistics = data.n_train - (1 if rest == 1 else 0)
    passes = {"forward": rehearsal.statistics}
    return found + work_of(passes, network, of_statistics, -(-of_statistics // STATISTICS_CHUNK))
