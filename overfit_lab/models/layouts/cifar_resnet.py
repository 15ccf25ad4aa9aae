"""Names of He et al.'s CIFAR networks in public code.

Read in amirgholami/PyHessian (``downsample``, ``fc``; projections); akamaster/pytorch_resnet_cifar10 has ``shortcut``
and ``linear``, and by default shortcuts without weights.
"""

from overfit_lab.models.layout import Layout, stages

REGISTER = {
    "pyhessian-resnet": Layout(
        source="PyHessian and pytorch_resnet_cifar10 (ResNet)",
        family="cifar-resnet",
        models="resnet20, resnet32, resnet44, resnet56 or resnet110",
        rules=(*stages(r"layer{}\.", 3, first=1), (r"\.downsample\.", ".shortcut."), (r"^fc\.", "linear.")),
    )
}
