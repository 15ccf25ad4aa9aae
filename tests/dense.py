"""What probes measure, by a double-precision copy of the network and one gradient a sample."""

import copy

import torch
from torch.nn import functional


def dense_numbers(model, reference, images, y, n_train, logits=lambda model, x: model(x)):
    """Field to number: the gradient norms, IIW, its distance and the accuracy on images (n, C, H, W) in [0, 1].

    Args:
        model: with the weights to measure, in whatever type.
        reference: theta_0 by parameter name.
        logits: how the network is called.
    """
    model = copy.deepcopy(model).double().eval()
    x = images.double()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    d = torch.cat([(p.detach() - reference[name].double()).flatten() for name, p in parameters.items()])
    rows = []
    for i in range(len(y)):
        loss = functional.cross_entropy(logits(model, x[i : i + 1]), y[i : i + 1])
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        rows.append(torch.cat([g.flatten() for g in gradients]))
    rows = torch.stack(rows)
    predicted = logits(model, x)
    return {
        "full": rows.mean(dim=0).norm().item(),
        "per_sample": rows.norm(dim=1).mean().item(),
        "iiw": n_train * (rows @ d).square().mean().item(),
        "distance": d.norm().item(),
        "acc_clean": (predicted.argmax(1) == y).double().mean().item(),
        "nll": functional.cross_entropy(predicted, y).item(),
    }


def measured_numbers(records, split="train", inputs="clean"):
    """The same fields, as they stand in the last records."""
    last = records[records["epoch"] == records["epoch"].max()]
    own = last[(last["split"] == split) & (last["inputs"].isin([inputs, ""]))]
    return dict(zip(own["field"], own["value"], strict=True))
