"""Logits and labels that hypothesis draws for tests of what holds for all of them; the same in every run."""

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn

steady = settings(derandomize=True, deadline=None, max_examples=60)
few = settings(steady, max_examples=12)

ANY = st.floats(-1e4, 1e4, width=32)
"""Any logit up to 10,000."""
EIGHTHS = st.one_of(st.integers(-40, 40), st.sampled_from([-80_000, 80_000, -1000])).map(lambda i: i / 8)
"""Logits with short binary fractions: adding such a number to them is exact."""


@st.composite
def labelled(draw, *, least=1, most=12, values=None, untied=False):
    """Logits (n, K) float32 with K = 2..7 and labels (n,); one sample, one class and ties are among them.

    With ``untied`` the logits of a sample differ from one another, by 1/64 or more, and have short binary fractions.
    """
    n, k = draw(st.integers(least, most)), draw(st.integers(2, 7))
    values = EIGHTHS if untied else ANY | EIGHTHS if values is None else values
    z = draw(drawn.arrays(np.float32, (n, k), elements=values))
    y = draw(drawn.arrays(np.int64, n, elements=st.integers(0, k - 1)))
    return torch.from_numpy(z + untied * np.arange(k, dtype=np.float32) / 64), torch.from_numpy(y)


@st.composite
def sampled(draw, *, least=8, most=60):
    """Normal logits (n, K) float32 with labels (n,) drawn from softmax(z / T), T between 0.3 and 4."""
    stream = np.random.default_rng(draw(st.integers(0, 10_000)))
    n, k, t = draw(st.integers(least, most)), draw(st.integers(2, 7)), draw(st.floats(0.3, 4))
    z = (3 * stream.normal(size=(n, k))).astype(np.float32)
    return torch.from_numpy(z), torch.from_numpy(np.argmax(z / t + stream.gumbel(size=(n, k)), axis=1))


def shuffled(draw, n):
    """An order of n things."""
    return torch.tensor(draw(st.permutations(range(n))))


def renamed(draw, z, y):
    """The same answers and labels where every class has another number."""
    order = shuffled(draw, z.shape[1])
    return z[:, order], torch.argsort(order)[y]
