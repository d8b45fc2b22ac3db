# SPDX-License-Identifier: Apache-2.0
"""Records to JSON data and back, driven by the dataclasses' own annotations."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A dataclass (nested as deep as it likes) as plain JSON data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(getattr(value, name)) for name in _fields(type(value))}
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [to_json(v) for v in items]
    return value


def from_json(cls: type[T], data: Any) -> T:
    """The dataclass ``cls`` from what ``to_json`` gave. Unknown keys are ignored, so that records may grow.

    :raises TypeError: a required field is missing
    """
    hints = _fields(cls)  # type: ignore[arg-type]  # classes are hashable; mypy doubts it of type[T]
    return cls(**{k: _value(hints[k], v) for k, v in data.items() if k in hints})


@functools.cache
def _fields(cls: type) -> dict[str, Any]:
    """Field name -> resolved annotation."""
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _value(hint: Any, data: Any) -> Any:
    if data is None:
        return None
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _value(next(a for a in arguments if a is not types.NoneType), data)
    if origin in (tuple, frozenset, list):
        inner = arguments[0]
        return origin(_value(inner, item) for item in data)
    if origin is dict:
        return {k: _value(arguments[1], v) for k, v in data.items()}
    if isinstance(hint, type):
        if dataclasses.is_dataclass(hint):
            return from_json(hint, data)
        if issubclass(hint, enum.Enum) or hasattr(hint, "__fspath__"):
            make: Any = hint
            return make(data)
    return data
