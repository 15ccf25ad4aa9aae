"""Names of torchvision's and timm's ResNets. None of ours computes the same, so this only gives advice."""

from overfit_lab.models.layout import Layout

REGISTER = {
    "torchvision-resnet": Layout(
        source="torchvision's and timm's ResNets",
        family="torchvision",
        models="torchvision:resnet18, torchvision:resnet50, timm:resnet18 or the like",
        rules=(),
        mark="layer4.0.downsample.0.weight",
    )
}
