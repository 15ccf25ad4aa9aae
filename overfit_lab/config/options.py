"""From a component to the options that it takes, whether it declares them or only has a signature."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Any, cast

from pydantic import ValidationError, create_model

from overfit_lab import config
from overfit_lab.config import Options, describe_validation_error
from overfit_lab.errors import ConfigError


def options_model(component: Any, context: frozenset[str] = frozenset()) -> type[Options] | None:
    """The options of a component: its ``Options`` class, else one made from its keyword parameters.

    Args:
        component: a class with ``Options``, or any callable.
        context: names of parameters that the caller supplies, which are therefore no options.

    Returns:
        A pydantic model; None for a callable that takes arbitrary keywords, whose options cannot be checked.
    """
    declared = getattr(component, "Options", None)
    if declared is not None:
        return cast("type[Options]", declared)
    signature = inspect.signature(component)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        return None
    target = component.__init__ if inspect.isclass(component) else component
    hints = typing.get_type_hints(target)
    fields: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if name in context or parameter.kind is parameter.VAR_POSITIONAL:
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints.get(name, Any), default)
    return cast("type[Options]", create_model("SignatureOptions", __base__=config.Options, **fields))


def parse_options(
    component: Any, options: Mapping[str, Any], *, prefix: str, context: frozenset[str] = frozenset()
) -> Any:
    """Validated options of a component, defaults filled in.

    Args:
        component: see :func:`options_model`.
        options: by name.
        prefix: key of the component in the configuration, for messages ("labels").
        context: parameters that are not options.

    Returns:
        An instance of the component's options model, or a plain dict where the component takes arbitrary keywords.

    Raises:
        ConfigError: one line that names the key, the value and what would be right.
    """
    model = options_model(component, context)
    if model is None:
        return dict(options)
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, model, prefix)) from error


def dump_options(options: Any) -> dict[str, Any]:
    """Options as plain values that YAML and JSON hold."""
    return options.model_dump(mode="json") if isinstance(options, Options) else dict(options)


def accepted(component: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some settings that a callable has parameters for; all where it takes arbitrary keywords."""
    parameters = inspect.signature(component).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(settings)
    return {parameter.name: settings[parameter.name] for parameter in parameters if parameter.name in settings}
