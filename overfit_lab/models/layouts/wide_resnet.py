"""Names of the wide residual networks of TRADES, which Rice et al. 2020, AWP and RobustBench share.

TRADES' class carries a second first block (``sub_block1``) that its forward pass never calls.
"""

from overfit_lab.models.layout import Layout, stages

REGISTER = {
    "trades-wide-resnet": Layout(
        source="TRADES, Rice et al. 2020, AWP and RobustBench (WideResNet)",
        family="wide-resnet",
        models="wrn-28-10 or wrn-34-10",
        rules=(
            *stages(r"block{}\.layer\.", 3, first=1),
            (r"\.convShortcut\.", ".shortcut."),
            (r"^bn1\.", "bn."),
            (r"^fc\.", "linear."),
        ),
        mark="block1.layer.0.conv1.weight",
        unused=r"sub_block1\.",
    )
}
