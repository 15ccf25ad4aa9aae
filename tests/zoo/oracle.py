"""Every deterministic number of every probe, from dense float64 arithmetic: one gradient a sample and class.

Written from the definitions, with none of the package's arithmetic.
"""

import math
import sys
from contextlib import ExitStack, contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

BINS, QUANTILES = 15, (0.05, 0.25, 0.5, 0.75, 0.95)


def bare(model):
    """The network within wrappers of compilers and devices."""
    while True:
        if isinstance(model, nn.DataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod
        else:
            return model


def in_float64(model):
    """A network made for this alone, in float64 and eval mode; float64 stays as it is under autocast."""
    model = bare(model).double().eval()
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.is_leaf:
                setattr(module, name, value.double())  # a constant that is no buffer
        if hasattr(module, "reentrant"):
            module.reentrant = False  # what it computes is the same, and single gradients can then be taken
    return model


@contextmanager
def plain():
    """Attention by its formula, which can be differentiated twice, and compiled code not compiled again."""
    with sdpa_kernel(SDPBackend.MATH), ExitStack() as stack:
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


class Oracle:
    """The numbers of one network on fixed images.

    Args:
        twin: the network, :func:`in_float64`.
        x: images (n, C, H, W) float64.
        y: given labels (n,); ``y_true`` true ones, ``corrupted`` where noise drew them.
        displacement: theta - theta_0 by name.
        output: attribute or key of what the network gives that holds the logits.

    ``own_logits`` (n, K), those of the network itself, are for what rests on logits alone: whether a confidence lies
    left or right of a bin's edge is for its own arithmetic to say.
    """

    def __init__(self, twin, x, y, displacement, *, y_true=None, corrupted=None, output=None, penultimate=None):
        self.twin, self.x, self.y, self.output, self.penultimate = twin, x.double(), y, output, penultimate
        self.y_true = y if y_true is None else y_true
        self.corrupted = torch.zeros_like(y, dtype=torch.bool) if corrupted is None else corrupted
        self.displacement = {name: d.double() for name, d in displacement.items()}
        self.parameters = {name: p for name, p in twin.named_parameters() if p.requires_grad}
        self.own_logits = None

    def logits_of(self, x):
        with plain():
            z = self.twin(x.clone())
        if self.output is None:
            return z
        return z[self.output] if isinstance(z, dict) else getattr(z, self.output)

    @cached_property
    def z(self):
        """Logits (n, K), each image passed alone."""
        with torch.no_grad():
            return torch.cat([self.logits_of(self.x[i : i + 1]) for i in range(len(self.x))])

    @cached_property
    def jacobian(self):
        """Name to dz_ik / dw (n, K, size of w)."""
        names, tensors = list(self.parameters), list(self.parameters.values())
        rows = {name: [] for name in names}
        for i in range(len(self.x)):
            z = self.logits_of(self.x[i : i + 1])[0]
            for k in range(len(z)):
                gradients = [None] * len(tensors)
                if z.requires_grad and tensors:
                    gradients = torch.autograd.grad(z[k], tensors, retain_graph=True, allow_unused=True)
                for name, p, g in zip(names, tensors, gradients, strict=True):
                    rows[name].append(torch.zeros(p.numel(), dtype=torch.float64) if g is None else g.flatten())
        return {name: torch.stack(found).view(len(self.x), -1, found[0].numel()) for name, found in rows.items()}

    @cached_property
    def p(self):
        return torch.softmax(self.z, 1)

    @cached_property
    def residual(self):
        return self.p - torch.eye(self.z.shape[1], dtype=torch.float64)[self.y]

    def gradients(self, names=None):
        """Each sample's gradient of the cross entropy (n, P)."""
        parts = [torch.einsum("nk,nkp->np", self.residual, self.jacobian[name]) for name in names or self.parameters]
        return torch.cat(parts, 1)

    # Gradient norm

    def gradient_norm(self, batch_size):
        g, n = self.gradients(), len(self.x)
        mean = g.mean(0)
        full = mean.norm()
        batches = torch.stack([part.mean(0).norm() for part in g.split(batch_size)])
        norms = g.norm(dim=1)
        found = {
            "full": (full, (g @ (mean / full)).std() / n**0.5),
            "minibatch": (batches.mean(), batches.std() / len(batches) ** 0.5),
            "per_sample": (norms.mean(), norms.std() / n**0.5),
        }
        for layer, names in by_layer(self.parameters).items():
            found[f"layer/{layer}"] = self.gradients(names).mean(0).norm()
        found |= {f"per_sample_quantile/{q:g}": np.quantile(norms.numpy(), q) for q in QUANTILES}
        return found

    # Information in the weights

    def moves(self, names):
        """J_i d (n, K) with d restricted to some parameters."""
        total = torch.zeros_like(self.z)
        for name in names:
            if name in self.jacobian:
                total = total + self.jacobian[name] @ self.displacement[name].flatten()
        return total

    def iiw_of(self, names, estimator, batch_size):
        u, n = self.moves(names), len(self.x)
        if estimator == "expected-fisher":
            terms = torch.einsum("nk,nkl,nl->n", u, torch.diag_embed(self.p) - self.p[:, :, None] * self.p[:, None], u)
        else:
            slopes = (self.residual * u).sum(1)
            terms = slopes**2
            if estimator == "pib-reference":
                terms = torch.stack([part.mean() ** 2 for part in slopes.split(batch_size)])
        return n * terms.mean(), n * terms.std() / len(terms) ** 0.5

    def iiw(self, estimator, layers, batch_size):
        suffix = "" if estimator == "empirical-fisher" else f"-{estimator}"
        names = list(self.displacement)
        found = {
            f"iiw{suffix}": self.iiw_of(names, estimator, batch_size),
            "distance": torch.cat([d.flatten() for d in self.displacement.values()]).norm(),
        }
        if layers:
            for layer, members in by_layer(names, 2).items():
                found[f"layer{suffix}/{layer}"] = self.iiw_of(members, estimator, batch_size)
        return found

    # Curvature

    @cached_property
    def hessian_matrix(self):
        """The Hessian of the mean cross entropy (P, P): a product with each unit vector."""
        tensors = list(self.parameters.values())
        loss = cross_entropies(self.logits_of(self.x), self.y).mean()
        if not loss.requires_grad:
            return torch.zeros(self.size, self.size, dtype=torch.float64)
        first = torch.autograd.grad(loss, tensors, create_graph=True, allow_unused=True)
        flat = torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(tensors, first, strict=True)]
        )
        if not flat.requires_grad:
            return torch.zeros(self.size, self.size, dtype=torch.float64)
        eye = torch.eye(self.size, dtype=torch.float64)
        try:
            return flat_rows(
                tensors,
                torch.autograd.grad(flat, tensors, eye, True, is_grads_batched=True, allow_unused=True),
                self.size,
            )
        except RuntimeError:  # some functions cannot be batched
            each = [torch.autograd.grad(one, tensors, retain_graph=True, allow_unused=True) for one in flat]
            return torch.cat([flat_rows(tensors, [None if g is None else g[None] for g in row], 1) for row in each])

    @property
    def size(self):
        """Trainable numbers P."""
        return sum(p.numel() for p in self.parameters.values())

    def hessian(self):
        h = self.hessian_matrix
        found = {"trace": h.trace()}
        found |= {f"layer/{layer}": h.diagonal()[rows].sum() for layer, rows in self.rows.items()}
        return found | {"top_eigenvalue": self.eigenvalues[0]}

    @cached_property
    def eigenvalues(self):
        """All of them (P,), by magnitude."""
        h = self.hessian_matrix
        if not torch.isfinite(h).all():
            return torch.full((len(h),), math.nan)
        values = torch.linalg.eigvalsh((h + h.T) / 2)
        return values[values.abs().argsort(descending=True)]

    @property
    def rows(self):
        """Layer to its rows of the Hessian."""
        places, start = {}, 0
        for name, p in self.parameters.items():
            places[name] = list(range(start, start := start + p.numel()))
        groups = by_layer(self.parameters, 2).items()
        return {layer: [row for name in names for row in places[name]] for layer, names in groups}

    def sign_spread(self):
        """Standard deviation of v^T H v over random signs v, and of v_l^T (H v)_l of each layer."""
        h = (self.hessian_matrix - torch.diag(self.hessian_matrix.diagonal())) ** 2
        found = {"trace": (2 * h.sum()).sqrt()}
        for layer, rows in self.rows.items():
            # pairs within the layer enter twice, those with a weight of another layer once
            found[f"layer/{layer}"] = (h[rows][:, rows].sum() + h[rows].sum()).sqrt()
        return found

    @cached_property
    def gauss_newton_trace(self):
        """The mean over samples of tr J_i^T (diag p - p p^T) J_i."""
        c = torch.diag_embed(self.p) - self.p[:, :, None] * self.p[:, None]
        return sum(torch.einsum("nkp,nkl,nlp->n", j, c, j) for j in self.jacobian.values()).mean()

    # What rests on logits alone

    @cached_property
    def seen(self):
        """The logits that such numbers are of."""
        return self.z if self.own_logits is None else self.own_logits.double()

    def calibration(self):
        z, y = self.seen, self.y
        even, odd = slice(0, None, 2), slice(1, None, 2)
        of_even, of_odd = temperature(z[even], y[even]), temperature(z[odd], y[odd])
        scaled = z.clone()
        scaled[even], scaled[odd] = over(z[even], of_odd), over(z[odd], of_even)
        p = torch.softmax(z, 1)
        squares = ((p - torch.eye(z.shape[1], dtype=torch.float64)[y]) ** 2).sum(1)
        gaps, weights = reliability(z, y)
        return {
            "ece": (gaps * weights).sum(),
            "mce": gaps[weights > 0].max(),
            "ece_adaptive": adaptive(z, y),
            "ece_classwise": classwise(p, y),
            "brier": with_error(squares),
            "nll": with_error(cross_entropies(z, y)),
            "ece_scaled": (lambda g, w: (g * w).sum())(*reliability(scaled, y)),
            "nll_scaled": with_error(cross_entropies(scaled, y)),
            "temperature": math.sqrt(of_even * of_odd),
        }

    def confidence(self):
        p = torch.softmax(self.seen, 1)
        most, right = p.max(1).values, self.seen.argmax(1) == self.y
        groups = {"conf": most, "conf_correct": most[right], "conf_wrong": most[~right]}
        groups["label_prob"] = p[torch.arange(len(p)), self.y]
        return {name: with_error(group) for name, group in groups.items() if len(group)}

    def memorisation(self):
        z, bad = self.seen, self.corrupted
        columns = {
            "acc_given": (z.argmax(1) == self.y).double(),
            "acc_true": (z.argmax(1) == self.y_true).double(),
            "loss_given": cross_entropies(z, self.y),
            "loss_true": cross_entropies(z, self.y_true),
        }
        found = {"share_untouched": (~bad).double().mean()}
        for part, mask in {"all": torch.ones_like(bad), "untouched": ~bad, "corrupted": bad}.items():
            if mask.any():
                found |= {f"{name}/{part}": with_error(column[mask]) for name, column in columns.items()}
        changed = self.y != self.y_true
        if changed.any():
            found["fitted"] = with_error(columns["acc_given"][changed])
        if bad.any() and not bad.all():
            a, b = columns["loss_given"][bad][:, None], columns["loss_given"][~bad][None]
            found["detection_auc"] = ((a > b).double() + (a == b).double() / 2).mean()
            if columns["loss_given"].isnan().any():
                found["detection_auc"] = math.nan
        return found

    def features(self, neighbours):
        caught = []
        layer = self.twin.get_submodule(self.penultimate)
        handle = layer.register_forward_pre_hook(lambda module, given: caught.append(given[0].detach()))
        with torch.no_grad():
            self.logits_of(self.x)
        handle.remove()
        points, y = caught[0].flatten(1), self.y_true
        if not torch.isfinite(points).all():
            return dict.fromkeys(("silhouette", "knn_acc", "distance_ratio"), math.nan)
        apart = (points[:, None] - points[None]).norm(dim=2)
        classes = y.unique().tolist()
        scores, hits = [], []
        for i in range(len(y)):
            means = {}
            for c in classes:
                others = [j for j in range(len(y)) if y[j] == c and j != i]
                means[c] = apart[i, others].mean().item() if others else math.nan
            own = means.pop(int(y[i]))
            nearest = min(means.values())
            scores.append(0.0 if math.isnan(own) else (nearest - own) / max(nearest, own))
            near = [j for j in apart[i].argsort().tolist() if j != i][:neighbours]
            votes = [sum(int(y[j]) == c for j in near) for c in range(max(classes) + 1)]
            hits.append(votes.index(max(votes)) == int(y[i]))
        centres = {c: points[y == c].mean(0) for c in classes}
        within = sum(((points[i] - centres[int(y[i])]) ** 2).sum() for i in range(len(y)))
        between = sum(((centres[int(c)] - points.mean(0)) ** 2).sum() for c in y)
        return {"silhouette": np.mean(scores), "knn_acc": np.mean(hits), "distance_ratio": within / between}

    # Gradients by the image

    @cached_property
    def image_jacobian(self):
        """dz_ik / dx_i (n, K, C H W)."""
        rows = []
        for i in range(len(self.x)):
            x = self.x[i : i + 1].clone().requires_grad_()
            z = self.logits_of(x)[0]
            if not z.requires_grad:
                rows.append(torch.zeros(len(z), x.numel(), dtype=torch.float64))
                continue
            found = [torch.autograd.grad(value, x, retain_graph=True, allow_unused=True)[0] for value in z]
            rows.append(torch.stack([torch.zeros(x.numel()).double() if g is None else g.flatten() for g in found]))
        return torch.stack(rows)

    def logit_geometry(self, order=1):
        """``order`` is that of the dual norm: 1 for l_inf, 2 for l_2."""
        gap, gradient_gap, cosine, predicted = [], [], [], []
        for z, j, y in zip(self.z, self.image_jacobian, self.y.tolist(), strict=True):
            others = sorted((k for k in range(len(z)) if k != y), key=lambda k: (-z[k].item(), k))
            radii = [((z[y] - z[k]) / (j[y] - j[k]).norm(p=order)).item() for k in others]
            first = others[0]
            gap.append((z[y] - z[first]).item())
            gradient_gap.append((j[y] - j[first]).norm(p=order).item())
            cosine.append((j[y] @ j[first] / (j[y].norm() * j[first].norm()).clamp_min(1e-300)).item())
            predicted.append(0.0 if gap[-1] <= 0 else min(radii))
            if not torch.isfinite(z).all():
                gap[-1] = gradient_gap[-1] = cosine[-1] = predicted[-1] = math.nan
        columns = {"logit_gap": gap, "gradient_gap": gradient_gap, "gradient_cosine": cosine, "predicted": predicted}
        found = {name: with_error(torch.tensor(column).double()) for name, column in columns.items()}
        return found | {"predicted_median": float(np.median(predicted))}


def flat_rows(tensors, found, n_rows):
    """Gradients [(n_rows, ...)] or None, side by side (n_rows, P)."""
    parts = [torch.zeros(n_rows, p.numel()) if g is None else g.flatten(1) for p, g in zip(tensors, found, strict=True)]
    return torch.cat([part.double() for part in parts], 1)


def by_layer(names, depth=None):
    groups = {}
    for name in names:
        groups.setdefault(".".join(name.split(".")[:-1][:depth]) or "model", []).append(name)
    return groups


def with_error(column):
    return column.mean(), column.std() / len(column) ** 0.5 if len(column) > 1 else None


def cross_entropies(z, y):
    return torch.logsumexp(z, 1) - z[torch.arange(len(z)), y]


def bin_of(position):
    """The bin (m / M, (m + 1) / M] of a probability."""
    return min(max(math.ceil(position * BINS) - 1, 0), BINS - 1) if math.isfinite(position) else BINS - 1


def reliability(z, y):
    """|accuracy - confidence| and share of samples of each bin, (M,) each."""
    p = torch.softmax(z, 1).max(1).values
    right = (z.argmax(1) == y).double()
    which = torch.tensor([bin_of(value) for value in p.tolist()])
    masks = [which == m for m in range(BINS)]
    gaps = torch.stack([(right[m].mean() - p[m].mean()).abs() if m.any() else torch.zeros(()).double() for m in masks])
    return gaps, torch.stack([m.double().mean() for m in masks])


def adaptive(z, y):
    """Each sample cut into M pieces of mass 1/(n M), which are then shared out among M bins of n pieces.

    Of samples with one confidence each has their mean accuracy.
    """
    p = torch.softmax(z, 1).max(1).values
    right = (z.argmax(1) == y).double()
    accuracy = torch.stack([right[(p - one).abs() < 1e-12].mean() for one in p])
    pieces = (accuracy - p)[p.argsort(stable=True)].repeat_interleave(BINS)
    return pieces.view(BINS, len(p)).mean(1).abs().mean()


def classwise(p, y):
    total = 0.0
    for k in range(p.shape[1]):
        which = torch.tensor([bin_of(value) for value in p[:, k].tolist()])
        for m in range(BINS):
            total += (p[which == m, k] - (y[which == m] == k).double()).sum().abs()
    return total / p.numel()


def temperature(z, y):
    """Where the mean negative log-likelihood of softmax(z / T) is least, by its derivative in 1 / T; 0 or infinity."""
    if not torch.isfinite(z).all() or (z == z[:, :1]).all():
        return math.nan
    labelled = z[torch.arange(len(z)), y]

    def rises(inverse):
        return ((torch.softmax(z * inverse, 1) * z).sum(1) - labelled).mean() > 0

    if (labelled == z.max(1).values).all():
        return 0.0
    if (labelled - z.mean(1)).mean() <= 0:
        return math.inf
    low, high = -50.0, 50.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if rises(math.exp(middle)) else (middle, high)
    return math.exp(-(low + high) / 2)


def over(z, temperature):
    """z / T, and its limits."""
    if temperature == 0:
        return torch.zeros_like(z).where(z == z.max(1, keepdim=True).values, -math.inf)
    return z * 1e-300 if temperature == math.inf else z / temperature  # the answers stay the same
