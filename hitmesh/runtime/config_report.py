"""Reports a service's settings in an environment, with each value's origin, as JSON.

`python -m collector.settings` prints the collector's report, and likewise for all other services. `hitmesh config
show` runs these commands, because tools import no service. A report contains no secrets.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from hitmesh.runtime.config import ServiceSettings, checked, prefix_of
from hitmesh.runtime.described import as_text, variables_of
from hitmesh.runtime.variables import masked

DEFAULT: Final = "default"
ENVIRONMENT: Final = "environment"


def report(model: type[ServiceSettings], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return a service's settings, with all problems.

    The result has the keys `prefix` (of the service's variables), `settings` and `problems`. A setting has the fields
    of hitmesh.runtime.variables.Variable, `value` and `origin`. If the service would refuse the environment, the values
    are the texts in the environment. If a required setting is missing, `value` and `origin` are None.
    """
    settings, problems = checked(model, environment)
    entries = []
    for field, variable in zip(model.model_fields, variables_of(model, prefix_of(model)), strict=True):
        text = environment.get(variable.name)
        origin = ENVIRONMENT if text is not None else None if variable.default is None else DEFAULT
        value = text if settings is None and text is not None else variable.default
        if settings is not None:
            value = as_text(getattr(settings, field))
        shown = None if value is None else masked(variable, value)
        entries.append({**asdict(variable), "value": shown, "origin": origin})
    return {"prefix": prefix_of(model), "settings": entries, "problems": [asdict(problem) for problem in problems]}


def print_report(model: type[ServiceSettings], environment: Mapping[str, str]) -> None:
    """Print the report as a JSON line."""
    sys.stdout.write(json.dumps(report(model, environment)) + "\n")
