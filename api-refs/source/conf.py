# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration of the API reference."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

project = "Coriolis API"
copyright = "the Coriolis contributors"
version = release = metadata.version("coriolis")

extensions = ["tools.api_reference"]
root_doc = "index"
nitpicky = True
smartquotes = False

html_theme = "furo"
html_title = f"Coriolis API {version}"
html_copy_source = False
html_show_sphinx = False
