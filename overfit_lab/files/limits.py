"""How large a file of each kind may be, and what it may unfold to: checked before anything is unfolded."""

from __future__ import annotations
