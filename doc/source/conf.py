# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration. Built by `make docs`, where every warning is an error."""

from __future__ import annotations

from importlib import metadata

project = "Coriolis"
copyright = "the Coriolis contributors"
version = release = metadata.version("coriolis")

extensions = ["reno.sphinxext"]
root_doc = "index"
nitpicky = True
smartquotes = False

html_theme = "furo"
html_title = f"Coriolis {version}"
html_copy_source = False
html_show_sphinx = False
