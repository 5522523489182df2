"""Reading of the ``.hydra/config.yaml`` of a run."""

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Reads scalars as OmegaConf, which wrote the file: ``1e-05`` is a number, and a date is text.

    PyYAML follows YAML 1.1, where a number with an exponent needs a point and a sign, as in ``1.0e-05``.
    """


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read(text: str) -> Any:
    """The content of a configuration that OmegaConf has written, with interpolations unresolved.

    Raises:
        yaml.YAMLError: the text is no YAML.
    """
    return yaml.load(text, Loader=_Loader)  # a SafeLoader
