"""Bytes of a run: on the device while it trains, and in its folder afterwards."""

from __future__ import annotations

from overfit_lab.config import parse_size
from overfit_lab.files.columns import HEADER as HEAD
from overfit_lab.records.dynamics import (
    FULL,
    LIMIT,
    PROBABILITIES_BYTES,
    RUNNING,
    columns_of,
    form_of,
    running_columns,
)
from overfit_lab.sweeps.cost.shapes import META
from overfit_lab.sweeps.cost.workload import Workload, evaluated_sizes
from overfit_lab.training.dynamics import ViewDynamics

LABELS_OF_AN_IMAGE = 8 + 8 + 1 + 8
"""Bytes: the label, the true one, the mark of noise and the place in the probes' order."""
BF16_SHARE = 0.5
"""What activations in mixed precision take of those in float32; batch norm and the loss take more, so a little low."""
HEADER, PER_TENSOR, MOMENTUM_NAME, STREAMS, RECORD = 130, 58, 33, 17_776, 185
"""Bytes of a checkpoint's JSON, of a tensor's entry beside its numbers and its name, of the name of an optimiser's
tensor, of the random streams, and of a line of records."""
TRAINING_RECORDS = 6
"""Lines an epoch."""


def device_bytes(work: Workload, devices: int = 1, precision: str = "fp32") -> dict[str, int]:
    """Peak bytes on each of the devices that share a batch, by what they are for.

    ``initial weights`` are theta_0, ``second weights`` averages, their like and teachers; ``images`` are those of all
    splits as uint8 with labels, or the batches that are decoded ahead; ``step`` is gradients, activations and what
    regularizers need, or an evaluation where that takes more. Not in it: libraries' work space, the allocator's slack
    (cuDNN and PyTorch take some hundred MB and more), probes.
    """
    counts = work.counts
    update = _mixed(counts.step_bytes / devices, counts.gradient_bytes, precision)
    n_evaluated = sum(evaluated_sizes(work.config, work.data))
    evaluation = counts.evaluated_bytes * n_evaluated + _mixed(counts.chunk_bytes, counts.gradient_bytes, precision)
    return {
        "weights": counts.weight_bytes,
        "initial weights": counts.gradient_bytes,
        "momentum": counts.momentum_bytes,
        "second weights": counts.regularizer_bytes + counts.teacher_bytes,
        "label memory": 0 if is_on_disk(work) else work.label_bytes,
        "images": sum(work.data.sizes.values()) * LABELS_OF_AN_IMAGE + n_decoded(work, devices) * work.data.image_bytes,
        "step": counts.gradient_bytes + max(update, evaluation + counts.regularizer_bytes),
    }


def _mixed(n_bytes: float, weights: int, precision: str) -> int:
    """Activations in a precision; in bf16 with a copy of the weights in it."""
    return round(n_bytes) if precision != "bf16" else round(BF16_SHARE * n_bytes) + weights // 2


def is_on_disk(work: Workload) -> bool:
    """Whether label memory lies in a mapped file beside the device."""
    compute = work.config.compute
    limit = parse_size(compute.label_memory_limit)
    return compute.label_memory == "disk" or (compute.label_memory == "auto" and work.label_bytes > limit)


def n_decoded(work: Workload, devices: int) -> int:
    """Images that lie decoded on a device: all of them, or of a streamed set the batches ahead.

    A set that ``data.stream`` leaves to the free memory counts as decoded, unless its resized crops have to be
    streamed.
    """
    data = work.config.data
    must = "resized-crop" in data.augment and data.image_size is not None
    if data.stream is True or (data.stream == "auto" and must):
        return (1 + data.prefetch) * -(-work.config.batch_size // devices)
    return sum(work.data.sizes.values())


def checkpoint_bytes(work: Workload) -> tuple[int, int]:
    """Bytes of a checkpoint, and of the last one, which a run can be resumed from."""
    counts = work.counts
    header = HEADER + sum(PER_TENSOR + len(name) for name in counts.names)
    light = counts.weight_bytes + counts.regularizer_bytes + work.label_bytes + header
    full = light + STREAMS + counts.momentum_bytes + (PER_TENSOR + MOMENTUM_NAME) * counts.n_momenta
    return light, full + dynamics_state_bytes(work)


def dynamics_state_bytes(work: Workload) -> int:
    """What per-sample dynamics take of a checkpoint to resume from."""
    if work.config.dynamics.keep == "none":
        return 0
    state = ViewDynamics(work.data.n_train, work.data.n_classes, META).state_dict()
    of_view = sum(PER_TENSOR + len(f"dynamics/{name}/") + t.nbytes for name, t in state.items())
    return sum(of_view + len(view) * len(state) for view in work.counts.views)


def dynamics_bytes(work: Workload) -> int:
    """Files of per-sample dynamics."""
    n, k, keep, epochs = work.data.n_train, work.data.n_classes, work.config.dynamics.keep, work.config.epochs
    if keep == "none":
        return 0
    level = keep if keep != "auto" else FULL if n * epochs <= LIMIT else RUNNING
    kept = n * k * 4 <= PROBABILITIES_BYTES
    total = 0
    for view in work.counts.views:
        total += HEAD + form_of(n, k, running_columns(k, probabilities=kept), view).block
        total += HEAD + epochs * form_of(n, k, columns_of(level, k), view).block if level != RUNNING else 0
    return total


def disk_bytes(work: Workload) -> dict[str, int]:
    """Bytes of the run folder, by what they are for; probes' records and arrays are not in it.

    ``teachers`` are the folders of runs that are trained first, ``label memory`` is a mapped file while it trains.
    While a checkpoint is written one more of its size is there.
    """
    light, full = checkpoint_bytes(work)
    counts, every = work.counts, work.config.checkpoint.every
    n_light = 2 + (work.config.epochs // every if every else 0)
    n_records = TRAINING_RECORDS * work.config.epochs + (counts.n_readings + 1) * counts.n_evaluations
    return {
        "checkpoints": n_light * light + full,
        "records": RECORD * n_records,
        "dynamics": dynamics_bytes(work),
        "teachers": sum(sum(disk_bytes(teacher).values()) for teacher in work.teachers.values()),
        "label memory": work.label_bytes if is_on_disk(work) else 0,
    }
