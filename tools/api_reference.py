# SPDX-License-Identifier: Apache-2.0
"""Sphinx directive ``.. routes:: <noun>``: the routes of a noun, from the table that the service itself uses.

Paths, parameters, bodies and statuses come from the route table and its schemas, words from ``tools/api_fields.py``,
and samples from a real run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from coriolis.api import openapi
from coriolis.api.dispatch import Route
from coriolis.api.routes import ROUTES
from tools.api_fields import meaning

DOCUMENT = openapi.document(ROUTES)
ANSWER_DEPTH = 2  # the envelope, and what is in it; deeper objects have pages of their own
REQUEST_DEPTH = 8
_BRANCHES = ("then", "else")
_CHOICES = ("oneOf", "anyOf", "allOf")
HOLES = {
    "project_id": "Project of the token",
    "instance": "Name or id of the virtual machine, in URL-safe base64",
    "platform": "Name of the provider",
    "type": "Number of the form: 16 connection, 8 source, 4 destination, 524288 and 1048576 minion pools",
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """A line of a table."""

    name: str
    place: str
    type: str
    required: str  # "yes", "in one form", or nothing
    meaning: str


def noun_of(route: Route) -> str:
    """What a route is about, as its policy has it."""
    if route.policy is None:
        return "versions"
    return str(route.policy).split(":")[1]


def sample_name(route: Route) -> str:
    """File name of a route's samples: "get-endpoints-id"."""
    words = [re.sub(r"\{.*\}", "id", part) for part in route.segments]
    return "-".join([route.method.lower(), *words])


def fields(noun: str, schema: Any, place: str, depth: int, above: str = "", demand: str = "yes") -> Iterator[Field]:
    """What a schema of an object names, and what is inside of that, down to a depth.

    :param demand: what is said of a required field
    """
    if not isinstance(schema, dict) or depth == 0:
        return
    required = set(schema.get("required", ()))
    for name, inner in (schema.get("properties") or {}).items():
        known = inner if isinstance(inner, dict) else {}
        yield Field(
            name=above + name,
            place=place,
            type=_type(known),
            required=demand if name in required else "",
            meaning=meaning(noun, above + name) or str(known.get("description", "")),
        )
        yield from fields(noun, known, place, depth - 1, f"{above}{name}.")
        if isinstance(known.get("items"), dict):
            yield from fields(noun, known["items"], place, depth - 1, f"{above}{name}[].")
    for branch in [schema.get(word) for word in _BRANCHES] + [one for word in _CHOICES for one in schema.get(word, ())]:
        yield from fields(noun, branch, place, depth, above, "in one form")


def _type(schema: dict[str, Any]) -> str:
    said = schema.get("type", "any")
    words = list(said) if isinstance(said, list) else [said]
    if schema.get("format") == "uuid":
        words = ["uuid" if word == "string" else word for word in words]
    return " or ".join(words)


def request_fields(route: Route) -> list[Field]:
    """Path, query and body of a route; each name once."""
    operation = DOCUMENT["paths"][openapi.path_of(route)][route.method.lower()]
    found = [
        Field(
            name=one["name"],
            place=one["in"],
            type=_type(one["schema"]),
            required="yes" if one.get("required") else "",
            meaning=one.get("description") or HOLES.get(one["name"], f"Id of the {_thing(one['name'])}"),
        )
        for one in operation["parameters"]
    ]
    found += fields(noun_of(route), dict(route.schema or {}), "body", REQUEST_DEPTH)
    return list({(one.place, one.name): one for one in reversed(found)}.values())[::-1]


def _thing(hole: str) -> str:
    return hole.removesuffix("_id").replace("_", " ")


def answer_fields(route: Route) -> list[Field]:
    """The body of the answer of a route; each name once."""
    found = fields(noun_of(route), dict(route.answer or {}), "body", ANSWER_DEPTH)
    return list({one.name: one for one in found}.values())


def text_of(route: Route, samples: Path) -> list[str]:
    """reStructuredText of one route."""
    path = openapi.path_of(route)
    title = f"{route.method} {path}"
    good, wrong = ([one for one in openapi.statuses(route) if (one < 300) is well] for well in (True, False))
    lines = [title, "-" * len(title), "", f"{route.summary}.", ""]
    lines += [f"Answers **{' or '.join(map(str, good))}**; errors: {', '.join(map(str, wrong))}."]
    if route.policy:
        lines[-1] += f" Policy: ``{route.policy}``."
    if set(route.produces) != {"application/json"}:
        lines[-1] += f" Gives {' or '.join(f'``{kind}``' for kind in route.produces)}, by the header ``Accept``."
    asked = request_fields(route)
    lines += _table("Request", asked, ("Name", "In", "Type", "Required", "Meaning"), lambda one: (
        f"``{one.name}``", one.place, one.type, one.required, one.meaning))  # fmt: skip
    lines += _sample(route, "request", "Request", samples)
    lines += _table("Answer", answer_fields(route), ("Name", "Type", "Meaning"), lambda one: (
        f"``{one.name}``", one.type, one.meaning))  # fmt: skip
    lines += _sample(route, "response", "Answer", samples)
    return [*lines, ""]


def _table(caption: str, rows: list[Field], head: tuple[str, ...], cells: Any) -> list[str]:
    if not rows:
        return []
    lines = ["", f".. list-table:: {caption}", "   :header-rows: 1", ""]
    for row in [head, *map(cells, rows)]:
        first, *rest = row
        lines += [f"   * - {first}", *(f"     - {cell}".rstrip() for cell in rest)]
    return [*lines, ""]


def _sample(route: Route, kind: str, caption: str, samples: Path) -> list[str]:
    for suffix, language in (("json", "json"), ("csv", "text"), ("txt", "text")):
        name = f"{sample_name(route)}.{kind}.{suffix}"
        if (samples / name).exists():
            return ["", f".. literalinclude:: samples/{name}", f"   :language: {language}", f"   :caption: {caption}"]
    return []


class Routes(SphinxDirective):
    """Takes the noun as its argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        samples = Path(self.env.srcdir) / "samples"
        lines = StringList()
        for route in ROUTES:
            if noun_of(route) == self.arguments[0]:
                for line in text_of(route, samples):
                    lines.append(line, "coriolis.api.routes")
        holder = nodes.section()
        holder.document = self.state.document
        nested_parse_with_titles(self.state, lines, holder)
        return list(holder.children)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("routes", Routes)
    return {"version": "1", "parallel_read_safe": True}
