"""What a run is: the schema, quantities written as text, files in and out, keys set by hand. No torch is loaded."""

from overfit_lab.config.files import (
    describe_validation_error,
    from_yaml,
    load_config,
    parse_config,
    to_dict,
    to_yaml,
)
from overfit_lab.config.overrides import apply_overrides, apply_settings
from overfit_lab.config.quantities import (
    Moment,
    Pixels,
    format_pixels,
    parse_fraction,
    parse_share,
    parse_size,
    parse_time,
    resolve_moment,
)
from overfit_lab.config.schema import (
    AttackConfig,
    CheckpointConfig,
    ComputeConfig,
    DataConfig,
    EvaluationConfig,
    NoiseConfig,
    OptimizerConfig,
    Options,
    Part,
    ProbesConfig,
    RunConfig,
)

__all__ = [
    "AttackConfig",
    "CheckpointConfig",
    "ComputeConfig",
    "DataConfig",
    "EvaluationConfig",
    "Moment",
    "NoiseConfig",
    "OptimizerConfig",
    "Options",
    "Part",
    "Pixels",
    "ProbesConfig",
    "RunConfig",
    "apply_overrides",
    "apply_settings",
    "describe_validation_error",
    "format_pixels",
    "from_yaml",
    "load_config",
    "parse_config",
    "parse_fraction",
    "parse_share",
    "parse_size",
    "parse_time",
    "resolve_moment",
    "to_dict",
    "to_yaml",
]
