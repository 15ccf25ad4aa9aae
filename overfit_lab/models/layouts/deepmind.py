"""Names of DeepMind's networks (Gowal et al. 2020, Rebuffi et al. 2021), as RobustBench 1.1.1 has them."""

from overfit_lab.models.layout import Layout, stages

ENDS = ((r"^batchnorm\.", "bn."), (r"^logits\.", "linear."))
NORMS = ((r"\.batchnorm_0\.", ".bn1."), (r"\.batchnorm_1\.", ".bn2."))

REGISTER = {
    "deepmind-wide-resnet": Layout(
        source="Gowal et al. 2020 and RobustBench (DMWideResNet)",
        family="gowal-resnet",
        models="wrn-28-10-swish, wrn-34-10-swish or wrn-70-16-swish",
        rules=(
            *stages(r"layer\.{}\.block\.", 3, first=0),
            *NORMS,
            (r"\.conv_0\.", ".conv1."),
            (r"\.conv_1\.", ".conv2."),
            (r"^init_conv\.", "conv1."),
            *ENDS,
        ),
        mark="init_conv.weight",
    ),
    "deepmind-preact-resnet": Layout(
        source="Rebuffi et al. 2021 and RobustBench (DMPreActResNet)",
        family="gowal-resnet",
        models="preact-resnet18-swish",
        rules=(
            *stages(r"layer_{}\.", 4, first=0),
            *NORMS,
            (r"\.conv_2d_1\.", ".conv1."),
            (r"\.conv_2d_2\.", ".conv2."),
            (r"^conv_2d\.", "conv1."),
            *ENDS,
        ),
        mark="layer_0.0.conv_2d_1.weight",
    ),
}
