# SPDX-License-Identifier: Apache-2.0
"""The relay as a program."""

from __future__ import annotations

import sys
from pathlib import Path

from coriolis.dataplane.link.relay import main

sys.exit(main(Path(sys.argv[1])))
