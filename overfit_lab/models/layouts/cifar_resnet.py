"""Names of He et al.'s CIFAR networks in public code.

Read in amirgholami/PyHessian (``downsample``, ``fc``; projections); akamaster/pytorch_resnet_cifar10 has ``shortcut``
and ``linear``, and by default shortcuts without weights.
"""

from overfit_lab.models.layout import Layout, stages

LAYERS = stages(r"layer{}\.", 3, first=1)
MODELS = "resnet20, resnet32, resnet44, resnet56 or resnet110"

REGISTER = {
    "pyhessian-resnet": Layout(
        source="PyHessian (ResNet)",
        family="cifar-resnet",
        models=MODELS,
        rules=(*LAYERS, (r"\.downsample\.", ".shortcut."), (r"^fc\.", "linear.")),
    ),
    "pytorch-resnet-cifar10": Layout(
        source="pytorch_resnet_cifar10", family="cifar-resnet", models=MODELS, rules=LAYERS
    ),
}
