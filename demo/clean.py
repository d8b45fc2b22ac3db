# SPDX-License-Identifier: Apache-2.0
"""`make demo-clean`: stop and remove everything that the demo made."""

from __future__ import annotations

import shutil

from demo import places


def main() -> None:
    places.stop_all()
    shutil.rmtree(places.BUILD, ignore_errors=True)
    places.REPORT.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
