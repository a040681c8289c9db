"""Describes a service's settings as environment variables, from the fields in the service's pydantic model."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from hitmesh.runtime.variables import Allowed, Secret, Unit, Variable

_KINDS: Final = {bool: "true or false", int: "integer", float: "number"}


def variables_of(model: type[BaseModel], prefix: str) -> tuple[Variable, ...]:
    """Return a model's variables in field order; each name is the prefix and the field in capitals."""
    return tuple(_variable(f"{prefix}{name}".upper(), field) for name, field in model.model_fields.items())


def as_text(value: Any) -> str:
    """Return a setting's value as it is written in the environment.

    Example:
        >>> as_text(True), as_text(600.0), as_text(0.5), as_text(4_194_304)
        ('true', '600', '0.5', '4194304')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _variable(name: str, field: FieldInfo) -> Variable:
    assert isinstance(field.annotation, type), f"{name} must have a plain type"
    units = [mark.text for mark in field.metadata if isinstance(mark, Unit)]
    is_secret = issubclass(field.annotation, SecretStr) or any(isinstance(mark, Secret) for mark in field.metadata)
    return Variable(
        name=name,
        kind=_KINDS.get(field.annotation, "text"),
        unit=units[0] if units else "",
        bounds=_bounds(field),
        default=None if field.is_required() else as_text(field.default),
        meaning=field.description or "",
        is_secret=is_secret,
    )


def _bounds(field: FieldInfo) -> str:
    if isinstance(field.annotation, type) and issubclass(field.annotation, Enum):
        *first, last = (str(choice.value) for choice in field.annotation)
        return f"{', '.join(first)} or {last}"
    words = [mark.text for mark in field.metadata if isinstance(mark, Allowed)]
    if words:
        return words[0]
    limits = ("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")
    found = [
        f"{words} {getattr(rule, name):,}" for name, words in limits for rule in field.metadata if hasattr(rule, name)
    ]
    patterns = [f"matches {rule.pattern}" for rule in field.metadata if getattr(rule, "pattern", None)]
    return ", ".join(found + patterns)
