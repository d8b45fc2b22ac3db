# SPDX-License-Identifier: Apache-2.0
"""Sphinx directive ``.. routes:: <noun>``: the routes of a noun, from the table that the service itself uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from coriolis.api.dispatch import Route
from coriolis.api.routes import ROUTES

PREFIX = "/v1/{project_id}"


def noun_of(route: Route) -> str:
    """What a route is about, as its policy has it."""
    if route.policy is None:
        return "versions"
    return str(route.policy).split(":")[1]


def sample_name(route: Route) -> str:
    """File name of a route's samples: "get-endpoints-id"."""
    words = [re.sub(r"\{.*\}", "id", part) for part in route.segments]
    return "-".join([route.method.lower(), *words])


def text_of(route: Route, samples: Path) -> list[str]:
    """reStructuredText of one route."""
    path = route.path if route.policy is None else PREFIX + route.path
    title = f"{route.method} {path}"
    lines = [title, "-" * len(title), "", f"{route.summary}.", "", f"Answers **{route.status}**."]
    if route.policy:
        lines[-1] += f" Policy: ``{route.policy}``."
    if route.query:
        lines += ["", "Query parameters: " + ", ".join(f"``{name}``" for name in route.query) + "."]
    for kind, caption in (("request", "Request"), ("response", "Answer")):
        name = f"{sample_name(route)}.{kind}.json"
        if (samples / name).exists():
            lines += ["", f".. literalinclude:: samples/{name}", "   :language: json", f"   :caption: {caption}"]
    return [*lines, ""]


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
