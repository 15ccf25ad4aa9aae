"""Per-sample training dynamics: what the outputs of training steps say of each sample, gathered on the device.

A step costs a copy of its logits. What they say is computed for some thousand rows at once and put at the rows'
samples; nothing is read back before the epoch ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from overfit_lab.probes.metrics.sample_outputs import SampleOutputs, sample_outputs
from overfit_lab.processes.world import ALONE, World
from overfit_lab.records.dynamics import COUNTS, PROBABILITIES_BYTES, QUANTITIES, VIEWS, running_columns
from overfit_lab.types import widened

if TYPE_CHECKING:
    from overfit_lab.processes.share import Share
    from overfit_lab.types import Batch, Outputs

PENDING = 2**15
"""Logits that are kept before what they say is computed: 128 KB."""
SIZES = "sizes"
"""In a state: classes, and epochs that were written."""
Write = Callable[[str, int, Mapping[str, np.ndarray], Mapping[str, np.ndarray], int], None]


class ViewDynamics:
    """The dynamics of one view: sums of the present epoch, and statistics over those before.

    Args:
        n_samples: N.
        n_classes: K.
        sees_all: whether every row of the run comes here; else the mean probabilities of an epoch wait for the rows of
            the other processes.

    Memory: N (20 + K) 4 bytes on the device, N K 4 more where the rows are shared.
    """

    def __init__(self, n_samples: int, n_classes: int, device: torch.device, *, sees_all: bool = True) -> None:
        self.n_samples, self.n_classes = n_samples, n_classes
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []
        self._n_pending = 0
        self.n_written = 0
        self.n_passed_over = 0
        n = n_samples + 1  # the last row is for what is of no sample
        self.sums = torch.zeros(len(QUANTITIES), n, device=device)
        self.n_drawn = torch.zeros(n, device=device)
        # The class + 1, below 0 where it is not the given label, so that those of several processes can be summed.
        self.predicted = torch.zeros(n, device=device)
        self.running = {
            "means": torch.zeros(len(QUANTITIES), n, device=device),
            "squares": torch.zeros(len(QUANTITIES), n, device=device),
            "counts": torch.zeros(3, n, dtype=torch.int32, device=device),  # epochs, correct, forgotten
            "first_correct": torch.zeros(n, dtype=torch.int32, device=device),
            "was_correct": torch.zeros(n, dtype=torch.bool, device=device),
        }
        self.probabilities: Tensor | None = None
        if n_samples * n_classes * 4 <= PROBABILITIES_BYTES:
            self.running["n_draws"] = torch.zeros(n, device=device)
            self.running["probabilities"] = torch.zeros(n, n_classes, device=device)
            total = self.running["probabilities"]
            self.probabilities = total if sees_all else torch.zeros_like(total)

    def take(self, index: Tensor, y: Tensor, logits: Tensor) -> None:
        """Take in the logits (b, K) of samples at ``index`` (b,) with given labels ``y`` (b,).

        A row counts for nothing where a logit is not finite, or where there is no such sample or class.

        Cost: a copy of the logits; no wait for the device.
        """
        # A copy, as what is compiled or replayed may write its next outputs into the same memory.
        self._pending.append((index, y, widened(logits.detach()).clone()))
        self._n_pending += logits.numel()
        if self._n_pending >= PENDING:
            self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Put what is pending at its samples."""
        if not self._pending:
            return
        index, y, logits = (torch.cat(parts) for parts in zip(*self._pending, strict=True))
        self._pending, self._n_pending = [], 0
        n, k = self.n_samples, self.n_classes
        given = y.clamp(0, k - 1)
        said = sample_outputs(logits, given)
        counts = said.finite & (index >= 0) & (index < n) & (given == y)
        self._add(torch.where(counts, index, n), given, said)

    def _add(self, index: Tensor, y: Tensor, said: SampleOutputs) -> None:
        numbers = torch.stack([said.loss, said.margin, said.probability, said.distance]).float()
        self.sums.index_add_(1, index, numbers)
        self.n_drawn.index_add_(0, index, torch.ones_like(said.loss, dtype=torch.float32))
        predicted = (said.predicted + 1).float()
        self.predicted.index_copy_(0, index, torch.where(said.predicted == y, predicted, -predicted))
        if self.probabilities is not None:
            self.probabilities.index_add_(0, index, said.probabilities.float())
            self.probabilities[-1:].zero_()

    @property
    def shared(self) -> list[Tensor]:
        """What processes sum."""
        total = self.running.get("probabilities")
        apart = [self.probabilities] if self.probabilities is not None and self.probabilities is not total else []
        return [self.sums, self.n_drawn, self.predicted, *apart]

    def merged(self, *, is_first: bool) -> None:
        """The sums are those over all processes now: the first one keeps them."""
        total = self.running.get("probabilities")
        if self.probabilities is not None and total is not None and self.probabilities is not total:
            if is_first:
                total += self.probabilities
            self.probabilities.zero_()
        if not is_first:
            self.forget()

    @torch.no_grad()
    def end_epoch(self, epoch: int) -> dict[str, np.ndarray]:
        """Close an epoch: statistics take it in. Call :meth:`forget` next.

        Args:
            epoch: completed epochs, this one included.

        Returns:
            The numbers of the epoch (N,), until they are forgotten: loss, margin, probability and distance, means over
            a sample's draws, NaN where it was not seen; and the predicted class of its last draw, -1 where not seen.

        Cost: a wait for the device.
        """
        self.settle()
        self.n_passed_over = int(self.n_drawn[-1])
        self.n_drawn[-1:].zero_()
        seen = self.n_drawn > 0
        self.sums /= self.n_drawn  # 0/0 is NaN
        self._take_in(seen, seen & (self.predicted > 0), epoch)
        numbers = dict(zip(QUANTITIES, self.sums[:, : self.n_samples].cpu().numpy(), strict=True))
        return {**numbers, "predicted": self.predicted[: self.n_samples].abs().cpu().numpy() - 1}

    def forget(self) -> None:
        """Begin an epoch."""
        for tensor in (self.sums, self.n_drawn, self.predicted):
            tensor.zero_()

    def _take_in(self, seen: Tensor, correct: Tensor, epoch: int) -> None:
        state = self.running
        n_epochs, n_correct, n_forgotten = state["counts"]
        n_epochs += seen
        for numbers, mean, squares in zip(self.sums, state["means"], state["squares"], strict=True):
            change = torch.where(seen, numbers - mean, 0.0)  # Welford's recurrence
            mean += change / n_epochs.clamp(min=1)
            squares += change * torch.where(seen, numbers - mean, 0.0)
        n_correct += correct
        n_forgotten += seen & state["was_correct"] & ~correct
        first = correct & (state["first_correct"] == 0)
        state["first_correct"].masked_fill_(first, epoch)
        torch.where(seen, correct, state["was_correct"], out=state["was_correct"])
        if "n_draws" in state:
            state["n_draws"] += self.n_drawn

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, as tensors by name; sums of the epoch are those of this process."""
        self.settle()
        return {SIZES: torch.tensor([self.n_classes, self.n_written]), **self._tensors}

    @property
    def _tensors(self) -> dict[str, Tensor]:
        return {"sums": self.sums, "n_drawn": self.n_drawn, "predicted": self.predicted, **self.running}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave.

        Raises:
            ValueError: it is of other samples or classes.
        """
        own = self._tensors
        if {name: t.shape for name, t in own.items()} != {n: t.shape for n, t in state.items() if n != SIZES}:
            raise ValueError("dynamics of other samples or classes")
        for name, tensor in own.items():
            tensor.copy_(state[name])
        self.n_written = int(state[SIZES][1])


class Statistics(Mapping[str, np.ndarray]):
    """Statistics over epochs (N,) by name, and mean probabilities (N, K), each made when it is looked up.

    Cost: a wait for the device each.
    """

    def __init__(self, running: Mapping[str, Tensor]) -> None:
        self._running = running
        kept = "probabilities" in running
        self._names = [column.name for column in running_columns(2, probabilities=kept)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @torch.no_grad()
    def __getitem__(self, name: str) -> np.ndarray:
        return self._made(name)[:-1].cpu().numpy()

    def _made(self, name: str) -> Tensor:
        state = self._running
        if name == "probabilities":
            return state[name] / state["n_draws"][:, None]  # NaN of one that was not seen
        if name == "first_correct":
            return state[name]
        if name in COUNTS:
            return state["counts"][COUNTS.index(name)]
        quantity, _, what = name.rpartition("_")
        i, n = QUANTITIES.index(quantity), state["counts"][0]
        value = state["means"][i] if what == "mean" else (state["squares"][i] / n.clamp(min=1)).sqrt()
        return torch.where(n > 0, value, torch.nan)


class Dynamics:
    """The dynamics of a run, view by view as they come.

    Args:
        n_samples: N, of the training split.
        device: where they are gathered.
        world: processes that share the run's batches; the first one keeps what they gather.
    """

    def __init__(self, n_samples: int, device: torch.device, world: World = ALONE) -> None:
        self.n_samples, self.device, self.world = n_samples, device, world
        self.views: dict[str, ViewDynamics] = {}
        self._clean: Tensor | None = None

    def clean_before(self, logits: Tensor | None) -> None:
        """Clean logits of the coming step that a label mode asked for; they count where its objective has none."""
        self._clean = logits

    def take_step(self, batch: Batch, outputs: Outputs, share: Share) -> None:
        """Take in a step's outputs on this process's rows. Cost: a copy of the logits; no wait for the device.

        Of a batch that every process works on as a whole the first one's outputs count.
        """
        clean, self._clean = outputs.clean if outputs.clean is not None else self._clean, None
        counts = share.is_split or self.world.is_first
        for view, logits in (("adversarial", outputs.adv), ("clean", clean)):
            if logits is not None:
                self.take(view, batch.index, batch.y, logits, counts=counts)

    def take(self, view: str, index: Tensor, y: Tensor, logits: Tensor, *, counts: bool = True) -> None:
        """Take in logits (b, K) on a view of samples at ``index`` (b,) with given labels ``y`` (b,); all on the device.

        Raises:
            ValueError: there were other classes before.
        """
        there = self._view(view, logits.shape[1])
        if there.n_classes != logits.shape[1]:
            raise ValueError(f"{logits.shape[1]} logits, expected {there.n_classes} as before")
        if counts:
            there.take(index, y, logits)

    def _view(self, view: str, n_classes: int) -> ViewDynamics:
        if view not in self.views:
            sees_all = self.world.size == 1
            self.views[view] = ViewDynamics(self.n_samples, n_classes, self.device, sees_all=sees_all)
        return self.views[view]

    def merge(self) -> None:
        """Have the first process hold what all of them gathered.

        Cost: where there are several an exchange of N (6 + K) numbers.
        """
        if self.world.size == 1:
            return
        views = [self.views[name] for name in sorted(self.views)]
        for view in views:
            view.settle()
        self.world.all_reduce([tensor for view in views for tensor in view.shared])
        for view in views:
            view.merged(is_first=self.world.is_first)

    def end_epoch(self, epoch: int, write: Write | None) -> None:
        """Close an epoch and write it; a view of which no sample was seen has no part in it.

        Args:
            epoch: completed epochs.
            write: takes view, epoch, numbers, statistics and K, in the first process; numbers and statistics are there
                during the call alone.
        """
        self.merge()
        if not self.world.is_first:
            return
        for name in sorted(self.views):
            view = self.views[name]
            numbers = view.end_epoch(epoch)
            if write is not None and (numbers["predicted"] >= 0).any():
                write(name, epoch, numbers, Statistics(view.running), view.n_classes)
                view.n_written += 1
            view.forget()

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by view and name, such as ``clean/sums``."""
        return {f"{name}/{key}": t for name, view in self.views.items() for key, t in view.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave; only the first of several processes takes it.

        Raises:
            ValueError: it is of other samples or classes.
        """
        self.views = {}
        for name in VIEWS:
            own = {key.partition("/")[2]: t for key, t in state.items() if key.startswith(f"{name}/")}
            if own:
                view = self._view(name, int(own[SIZES][0]))
                if self.world.is_first:
                    view.load_state_dict(own)
