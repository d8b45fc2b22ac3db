# SPDX-License-Identifier: Apache-2.0
"""The directive ``.. statetable:: task``: a state machine drawn from ``coriolis.domain.states``, so that the diagram
in the documents is the table that runs."""

from __future__ import annotations

from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.graphviz import graphviz
from sphinx.util.docutils import SphinxDirective

from coriolis.domain import machine, states

TABLES = {table.name: table for table in states.TABLES}


class StateTable(SphinxDirective):
    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in TABLES:
            raise self.error(f"There is no state table '{name}'; there are: {', '.join(sorted(TABLES))}.")
        drawing = graphviz()
        drawing["code"] = machine.to_dot(TABLES[name])
        drawing["options"] = {}
        drawing["alt"] = f"States of a {name}"
        return [drawing]


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinx.ext.graphviz")
    app.add_directive("statetable", StateTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
