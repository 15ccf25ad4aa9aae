"""A run that takes a second or two: digits, a narrow network, few epochs, every probe on."""

from overfit_lab.config import RunConfig, parse_config

METRICS = [
    "phases",
    "gradient-norm",
    "iiw",
    "calibration",
    "confidence",
    "hessian",
    "features",
    "memorisation",
    "logit-geometry",
]


def tiny_config(labels="sglr", **changes) -> RunConfig:
    """Digits with 30% flipped labels, 96 images, 4 epochs, augmented, two decays, a checkpoint every epoch."""
    content = {
        "name": "tiny",
        "epochs": 4,
        "batch_size": 32,
        "data": {
            "name": "digits",
            "n_train": 96,
            "n_val": 32,
            "n_test": 64,
            "augment": ["crop", "flip"],
            "crop_padding": 1,
            "noise": {"kind": "symmetric-flip", "rate": 0.3},
        },
        "model": {"name": "mlp", "hidden": 16},
        "attack": {"eps": 0.1, "step_size": 0.025, "n_steps": 2},
        "labels": labels if isinstance(labels, dict) else {"name": labels},
        "schedule": {"name": "piecewise", "milestones": [2, 3]},
        "evaluation": {"n_steps": 3, "chunk": 24},
        "probes": {"every": 2, "metrics": METRICS, "n": 40, "options": {"hessian": {"max_probes": 4}}},
        "checkpoint": {"every": 1},
    }
    return parse_config({**content, **changes})
