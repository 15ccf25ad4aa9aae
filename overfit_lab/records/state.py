"""Memory that a checkpoint holds: tensors by name."""

from __future__ import annotations

from torch import Tensor


class Memory:
    """A component that remembers something between steps. Its memory is tensors of fixed shapes, by name."""

    kind = "memory"
    """What the memory is called in messages."""

    def state_dict(self) -> dict[str, Tensor]:
        """The memory: name to tensor; empty where there is none."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: names or shapes differ from this component's memory.
        """
        own = self.state_dict()
        if state.keys() != own.keys():
            raise ValueError(f"{self.kind} holds {sorted(state)}, expected {sorted(own)}")
        for name, tensor in state.items():
            if tensor.shape != own[name].shape:
                raise ValueError(f"{self.kind} {name}: shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
            own[name].copy_(tensor)
