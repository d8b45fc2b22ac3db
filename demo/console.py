# SPDX-License-Identifier: Apache-2.0
"""`make demo-console`: the serial console of the domain that the demo left running."""

from __future__ import annotations

import json
import os
import sys

from demo import places


def main() -> int:
    if not places.running("libvirt") or not places.REPORT.exists():
        print("No domain of the demo is running. Start one with: make demo", file=sys.stderr)
        return 1
    report = json.loads(places.REPORT.read_text())
    os.execvp("virsh", ["virsh", "-c", report["uri"], "console", "--force", report["domain"]])


if __name__ == "__main__":
    sys.exit(main())
