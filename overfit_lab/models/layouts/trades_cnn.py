"""Names of TRADES' network for MNIST."""

from overfit_lab.models.layout import Layout

CONVOLUTIONS = tuple(
    (rf"^feature_extractor\.conv{i}\.", f"features.{position}.") for i, position in ((1, 0), (2, 2), (3, 5), (4, 7))
)

REGISTER = {
    "trades-cnn": Layout(
        source="TRADES (SmallCNN)",
        family="trades-cnn",
        models="trades-cnn",
        rules=(
            *CONVOLUTIONS,
            (r"^classifier\.fc1\.", "hidden.0."),
            (r"^classifier\.fc2\.", "hidden.3."),
            (r"^classifier\.fc3\.", "linear."),
        ),
        mark="feature_extractor.conv1.weight",
    )
}
