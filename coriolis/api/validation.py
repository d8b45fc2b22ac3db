# SPDX-License-Identifier: Apache-2.0
"""JSON schemas, and errors that name the field and the cure without repeating what may be a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jsonschema
import referencing
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from coriolis.domain.errors import Invalid

Validator = Draft202012Validator

# Without a registry of its own the library would fetch a schema's remote references over the network.
_NO_NETWORK: Any = referencing.Registry()


def compile_schema(schema: Mapping[str, Any]) -> Validator:
    return Draft202012Validator(dict(schema), registry=_NO_NETWORK)


def check(validator: Validator, data: Any, root: str = "") -> None:
    """:raises Invalid: names the field (dotted, below ``root``) that fits least, and what would fit"""
    error = best_match(validator.iter_errors(data))
    if error is None:
        return
    path = dotted(root, error.absolute_path)
    field, words = _WORDS.get(str(error.validator), _other)(path, error)
    raise Invalid(f"{field or 'The body'}: {words}", field=field or None)


def check_provider_data(schema: Mapping[str, Any], data: Any, root: str) -> None:
    """Check data against a schema that a provider wrote.

    :raises Invalid: the data do not fit, or the provider's schema itself is unusable
    """
    try:
        chosen = _branch(schema, data)
        Validator.check_schema(chosen)
        check(compile_schema(chosen), data, root)
    except (jsonschema.SchemaError, referencing.exceptions.Unresolvable, RecursionError) as error:
        raise Invalid(f"{root}: the provider's schema is unusable ({type(error).__name__})", field=root) from None


def _branch(schema: Mapping[str, Any], data: Any) -> Mapping[str, Any]:
    """Of a ``oneOf`` the branch that is meant, so that the error speaks about that one only."""
    branches = schema.get("oneOf")
    if not isinstance(branches, list) or not isinstance(data, dict):
        return schema
    by_reference = [b for b in branches if "secret_ref" in b.get("properties", {})]
    plain = [b for b in branches if b not in by_reference]
    chosen = by_reference if "secret_ref" in data else plain
    if len(chosen) != 1:
        return schema
    return {**{k: v for k, v in schema.items() if k != "oneOf"}, **chosen[0]}


def dotted(root: str, path: Iterable[str | int]) -> str:
    """``migration.instances[0]``"""
    text = root
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else str(part)
    return text


# ---- words for each keyword of a schema: (path, error) -> (field, what is wrong and what would be right) --------

Words = Callable[[str, ValidationError], tuple[str, str]]


def _required(path: str, error: ValidationError) -> tuple[str, str]:
    present = error.instance if isinstance(error.instance, dict) else {}
    wanted: Any = error.validator_value
    missing = next((name for name in wanted if name not in present), "?")
    return dotted(path, [missing]), "is required"


def _unknown(path: str, error: ValidationError) -> tuple[str, str]:
    known = sorted(error.schema.get("properties", {})) if isinstance(error.schema, dict) else []
    given: Any = error.instance
    name = next((key for key in given if key not in known), "?")
    return dotted(path, [str(name)[:80]]), f"is no known field; known are {', '.join(known) or 'none'}"


def _type(path: str, error: ValidationError) -> tuple[str, str]:
    wanted = error.validator_value
    names = wanted if isinstance(wanted, list) else [wanted]
    return path, f"must be {' or '.join(map(str, names))}, not {_json_type(error.instance)}"


def _json_type(value: Any) -> str:
    names = ((bool, "boolean"), (dict, "object"), (list, "array"), (str, "string"), (int, "integer"), (float, "number"))
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def _enum(path: str, error: ValidationError) -> tuple[str, str]:
    allowed: Any = error.validator_value
    return path, f"must be one of {', '.join(map(str, allowed))}"


def _bound(text: str) -> Words:
    return lambda path, error: (path, text.format(error.validator_value))


def _other(path: str, error: ValidationError) -> tuple[str, str]:
    return path, f"does not fit the schema ({error.validator})"


_WORDS: dict[str, Words] = {
    "required": _required,
    "additionalProperties": _unknown,
    "type": _type,
    "enum": _enum,
    "const": _bound("must be {!r}"),
    "minimum": _bound("must be at least {}"),
    "maximum": _bound("must be at most {}"),
    "minLength": _bound("must have at least {} characters"),
    "maxLength": _bound("must have at most {} characters"),
    "minItems": _bound("must have at least {} items"),
    "maxItems": _bound("must have at most {} items"),
    "minProperties": _bound("must have at least {} keys"),
    "maxProperties": _bound("must have at most {} keys"),
    "uniqueItems": _bound("must not hold the same item twice"),
    "pattern": _bound("must match the pattern {}"),
    "format": _bound("must be a {}"),
}
