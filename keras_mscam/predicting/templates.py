"""Templates of pages that need nothing beside them."""

import functools

import jinja2

from keras_mscam.plots.style import words


@functools.cache
def read_template(name: str) -> jinja2.Template:
    """Return a template of this package; the style of all reports can be included."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("keras_mscam.predicting", ""),
                jinja2.PackageLoader("keras_mscam", ""),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = words
    return environment.get_template(name)
