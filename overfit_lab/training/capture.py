"""Whether a run's training attack is captured as a CUDA graph."""

from __future__ import annotations

import logging
from functools import partial

import torch
from torch import Tensor

from overfit_lab.methods.attacks.graphed import GraphedAscents
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.models.compute.graphs import Capture, cuda_capture
from overfit_lab.seeds import derive_generator
from overfit_lab.training.session import Session
from overfit_lab.training.step import targets_of
from overfit_lab.types import Batch, Targets, to_float

logger = logging.getLogger(__name__)
MOST_OTHERWISE = 0.05
"""Share of the numbers in adversarial images that rounding may make different in a replay."""


def capture_training(session: Session, capture: Capture | None = None) -> None:
    """Have the training attack replayed as one graph, where the run's settings and device say so, and try it.

    ``auto`` does so on CUDA for PGD and the objectives of this package; another objective's loss may depend on what
    Python decides anew at each step. Whether it was done is in the run's record (``graph``), and why not where it was
    asked for or fails (``fallback``).

    Args:
        session: before its first step; its label memory and weights stay as they are.
        capture: captures on this kind of device; None: CUDA's, where the run is on CUDA.

    Cost: the attack on a batch, some six times over.
    """
    asked = session.config.compute.graph
    on_cuda = capture is not None or session.device.type == "cuda"
    session.compute["graph"] = False
    if asked is False or (asked == "auto" and not on_cuda):
        return
    reason = _reason_against(session, on_cuda, forced=asked is True)
    if reason is None:
        ascents = GraphedAscents(partial(session.objective.attack_loss, session.model), capture or cuda_capture)
        reason = _failure(session, ascents)
        if reason is None:
            session.ascents = ascents
            session.compute["graph"] = True
            return
    if reason:
        note = f"attack not captured: {reason}"
        session.compute["fallback"] = "; ".join(filter(None, [session.compute.get("fallback"), note]))
        logger.warning("overfit-lab: %s; training goes on without", note)


def _reason_against(session: Session, on_cuda: bool, *, forced: bool) -> str | None:
    """Why the attack is not to be captured, empty where there is nothing to be said of it; None where it may be."""
    attack, objective = session.attack, session.objective
    if not objective.needs_attack or type(attack) is not PGD or attack.n_steps == 0:
        return "training has no attack by pgd" if forced else ""
    if not on_cuda:
        return "graphs are CUDA's, and the run is not on CUDA"
    if session.eps_schedule is not None:
        return "eps changes at every step"
    if attack.bn_mode == "train" and session.world.size > 1:
        return "processes exchange statistics in the midst of it"
    if not forced and type(objective).__module__.partition(".")[0] != __name__.partition(".")[0]:
        return f"the objective is {type(objective).__module__}'s own; compute.graph=true captures it all the same"
    return None


def _failure(session: Session, ascents: GraphedAscents) -> str | None:
    """Why a replay cannot be had, or does not find the images that the attack itself finds, in a line; None if it does.

    The replay is of other images and labels than the capture, so that a number which was captured shows.
    """
    session.model.train()
    with session.autocast():
        _attacked(session, *_trial_batch(session, backwards=False), ascents)
        batch, targets = _trial_batch(session, backwards=True)
        replayed = _attacked(session, batch, targets, ascents)
        if ascents.failed is not None:
            return ascents.failed
        gap = (replayed - _attacked(session, batch, targets, None)).abs()
    differ = float((gap > 1e-3 * session.config.attack.eps).float().mean())
    # not "<=": images that are not numbers differ
    return None if differ <= MOST_OTHERWISE else f"a replay gives other images ({differ:.1%} of their numbers)"


def _trial_batch(session: Session, *, backwards: bool) -> tuple[Batch, Targets]:
    """A batch of the size that training has, from the first samples of the split, and its targets."""
    split = session.data.splits["train"]
    index = torch.arange(session.share(session.loader.batch_size).size, device=session.device) % len(split)
    index = index.flip(0) if backwards else index
    batch = Batch(to_float(split.x[index]), split.y[index], index)
    for regularizer in session.regularizers.values():
        batch = regularizer.batch(batch, session.clock)
    return batch, targets_of(session, batch)


def _attacked(session: Session, batch: Batch, targets: Targets, ascents: GraphedAscents | None) -> Tensor:
    attack = session.attack
    assert attack is not None
    if ascents is not None:
        attack = ascents.of(attack, batch, targets)
    generator = derive_generator(session.config.seed, "capture", device=session.device)
    loss = session.objective.attack_loss(session.model, batch, targets)
    return attack(session.model, batch.x, loss, generator=generator, start=session.objective.attack_start)
