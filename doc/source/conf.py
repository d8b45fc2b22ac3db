# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration. Built by `make docs`, where every warning is an error."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Coriolis"
copyright = "the Coriolis contributors"
version = release = metadata.version("coriolis")

extensions = ["reno.sphinxext", "statetable"]
graphviz_output_format = "svg"
root_doc = "index"
nitpicky = True
smartquotes = False

html_theme = "furo"
html_title = f"Coriolis {version}"
html_copy_source = False
html_show_sphinx = False
