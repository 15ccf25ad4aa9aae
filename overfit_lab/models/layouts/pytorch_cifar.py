"""Names of kuangliu's pytorch-cifar, which most code of adversarial training has taken over.

Read in kuangliu/pytorch-cifar, locuslab/robust_overfitting, locuslab/fast_adversarial, csdongxian/AWP,
yaodongyu/TRADES and RobustBench 1.1.1.
"""

from overfit_lab.models.layout import Layout, stages

LAYERS = stages(r"layer{}\.", 4, first=1)

REGISTER = {
    "pytorch-cifar-resnet": Layout(
        source="pytorch-cifar, TRADES, AWP and RobustBench (ResNet)",
        family="resnet",
        models="resnet18, resnet34 or resnet50",
        rules=LAYERS,
        mark="layer4.0.shortcut.1.running_mean",
    ),
    "pytorch-cifar-preact-resnet": Layout(
        source="pytorch-cifar, Rice et al. 2020, AWP and RobustBench (PreActResNet)",
        family="preact-resnet",
        models="preact-resnet18",
        rules=(*LAYERS, (r"\.shortcut\.0\.", ".shortcut.")),
        caution="files of fast_adversarial and RobustBench's Wong2020Fast and Andriushchenko2020Understanding have the "
        "same names and need --set model.shortcut=input",
    ),
}
