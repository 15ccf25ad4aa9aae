"""Parts of a configuration with what a component needs to be built: a teacher, where it has an option for one."""

from overfit_lab.config.options import options_model


def part(registry, name, teacher):
    """A component by name, with every option that ends in "teacher" set."""
    model = options_model(registry[name])
    named = [key for key in model.model_fields if key.endswith("teacher")]
    return {"name": name, **{key: str(teacher) for key in named}}
