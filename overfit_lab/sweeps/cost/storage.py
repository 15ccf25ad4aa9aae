"""Bytes of a run: on the device while it trains, and in its folder afterwards."""

from __future__ import annotations

from overfit_lab.config import parse_size
from overfit_lab.sweeps.cost.workload import Workload
from overfit_lab.training.compute import has_convolutions

FLOAT, LABELS_OF_AN_IMAGE = 4, 8 + 8 + 1 + 8
"""float32; the given and the true label, the mark of noise and the place in the probes' order."""
BF16_SHARE = 0.5
"""What activations in mixed precision take of those in float32; batch norm and the loss take more, so a little low."""
IMAGES_OF_A_BATCH = 4
"""Batches of images at a time: clean, adversarial, the gradient, and the next iterate."""
HEADER, PER_TENSOR, STREAMS = 130, 58, 17_776
"""Bytes of a checkpoint beside its numbers: JSON, the entry of a tensor without its name, the random streams."""
RECORD = 185
"""Bytes of a line of records.jsonl."""
TRAINING_RECORDS = 6


def device_bytes(work: Workload, devices: int = 1, precision: str = "fp32") -> dict[str, int]:
    """Bytes on each device at the time of most, by what they are for.

    Not in it: libraries' work space, the allocator's slack (cuDNN and PyTorch take some hundred MB and more), probes.

    Args:
        work: the run.
        devices: that share a batch.
        precision: ``fp32`` or ``bf16``.

    Returns:
        ``weights`` (with buffers), ``initial weights`` (theta_0, which probes and the live IIW need), ``momentum``,
        ``second weights`` (averages and their like, and teachers), ``label memory``, ``images`` (of all splits as
        uint8, with labels; of a streamed set the batches that are decoded ahead), ``step`` (gradients, activations
        and what regularizers need, or an evaluation where that takes more).
    """
    network, rehearsal = work.network, work.rehearsal
    state = sum(network.state_bytes.values())
    momentum = network.weight_bytes if work.config.optimizer.momentum else 0
    n_images = sum(work.data.sizes.values())
    return {
        "weights": state,
        "initial weights": network.weight_bytes,
        "momentum": momentum,
        "second weights": state * (rehearsal.weight_copies + rehearsal.n_teachers),
        "label memory": 0 if is_on_disk(work) else work.data.n_train * rehearsal.label_row_bytes,
        "images": n_images * LABELS_OF_AN_IMAGE + n_decoded(work, devices) * work.data.image_bytes,
        "step": max(_training_peak(work, devices, precision), _evaluation_peak(work, precision)),
    }


def is_on_disk(work: Workload) -> bool:
    """Whether label memory lies in a mapped file beside the device."""
    compute = work.config.compute
    rows = work.data.n_train * work.rehearsal.label_row_bytes
    return compute.label_memory == "disk" or (
        compute.label_memory == "auto" and rows > parse_size(compute.label_memory_limit)
    )


def n_decoded(work: Workload, devices: int = 1) -> int:
    """Images that lie decoded on a device: all of them, or of a streamed set the batches ahead.

    A set that ``data.stream`` leaves to the free memory counts as decoded, unless its resized crops have to be
    streamed.
    """
    data = work.config.data
    must = "resized-crop" in data.augment and data.image_size is not None
    if data.stream is True or (data.stream == "auto" and must):
        return (1 + data.prefetch) * -(-work.config.batch_size // devices)
    return sum(work.data.sizes.values())


def _training_peak(work: Workload, devices: int, precision: str) -> int:
    network, rehearsal = work.network, work.rehearsal
    batch = -(-min(work.config.batch_size, work.data.n_train) // devices)
    images = IMAGES_OF_A_BATCH * batch * work.data.image_bytes * FLOAT
    gradients = network.weight_bytes
    update = _mixed(network.peak_of_update(batch, rehearsal.graphs) - gradients, network.weight_bytes, precision)
    attack = _mixed(network.peak_of_attack(batch), network.weight_bytes, precision) if work.parts["attack"].flops else 0
    ascent = 2 * network.weight_bytes if rehearsal.backwards > 1 else 0
    folded = sum(network.state_bytes.values()) if work.config.compute.fold and has_convolutions(network.model) else 0
    return images + gradients + max(update + ascent, attack + folded)


def _evaluation_peak(work: Workload, precision: str) -> int:
    """Images and logits of every evaluated kind, which stay for the probes, and one chunk under attack."""
    network, config = work.network, work.config
    sizes = work.evaluated
    kinds = 1 + (config.evaluation.n_steps > 0) + (config.evaluation.corruption is not None)
    kept = kinds * sum(sizes.values()) * FLOAT * (work.data.image_bytes + work.data.n_classes)
    chunk = min(config.evaluation.chunk, max(sizes.values()))
    images = IMAGES_OF_A_BATCH * chunk * work.data.image_bytes * FLOAT
    peak = _mixed(network.peak_of_attack(chunk), network.weight_bytes, precision)
    second = sum(network.state_bytes.values()) * work.rehearsal.weight_copies
    return kept + images + peak + network.weight_bytes + second


def _mixed(n_bytes: int, weights: int, precision: str) -> int:
    """Activations in a precision; in bf16 with a copy of the weights in it."""
    return n_bytes if precision != "bf16" else round(BF16_SHARE * n_bytes) + weights // 2


def disk_bytes(work: Workload) -> dict[str, int]:
    """Bytes of the run folder, by what they are for; probes' records and arrays are not in it.

    Returns:
        ``checkpoints`` (initial, best, last and every k-th), ``records`` (of training and evaluation), ``teachers``
        (the folders of runs that were trained first) and ``label memory`` (a mapped file while it trains). While a
        checkpoint is written one more of its size is there.
    """
    light, full = checkpoint_bytes(work)
    every = work.config.checkpoint.every
    n_kept = 2 + (work.config.epochs // every if every else 0)
    return {
        "checkpoints": n_kept * light + full,
        "records": RECORD * n_records(work),
        "teachers": sum(sum(disk_bytes(teacher).values()) for teacher in work.teachers.values()),
        "label memory": work.data.n_train * work.rehearsal.label_row_bytes if is_on_disk(work) else 0,
    }


def checkpoint_bytes(work: Workload) -> tuple[int, int]:
    """Bytes of a checkpoint, and of the last one, which a run can be resumed from."""
    network, rehearsal = work.network, work.rehearsal
    names = [f"model/{name}" for name in network.state_bytes]
    copies = rehearsal.weight_copies
    header = HEADER + (1 + copies) * sum(PER_TENSOR + len(name) for name in names)
    light = (1 + copies) * sum(network.state_bytes.values()) + header
    light += work.data.n_train * rehearsal.label_row_bytes
    with_momentum = bool(work.config.optimizer.momentum)
    resumable = STREAMS + with_momentum * (network.weight_bytes + (PER_TENSOR + 33) * len(network.parameters))
    return light, light + resumable


def n_records(work: Workload) -> int:
    """Lines of records.jsonl that training and evaluation write."""
    config = work.config
    every = config.evaluation.every
    n_times = config.epochs // every + (config.epochs % every > 0)
    kinds = 1 + (config.evaluation.n_steps > 0) + (config.evaluation.corruption is not None)
    per_evaluation = 2 * kinds * len(work.evaluated)
    return TRAINING_RECORDS * config.epochs + n_times + per_evaluation * work.rehearsal.n_evaluations
