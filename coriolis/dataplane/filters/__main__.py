# SPDX-License-Identifier: Apache-2.0
"""Puts filters in front of an NBD export and says under which address it is then, until it is interrupted.

python -m coriolis.dataplane.filters 'nbd+unix:///?socket=/run/x' 'delay:read_ms=5;rate:bytes_per_second=50000000'
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys

from coriolis.dataplane.errors import DataplaneError
from coriolis.dataplane.filters import filtered, parse_filters


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m coriolis.dataplane.filters", description=__doc__)
    parser.add_argument("uri", help="NBD URI of the export")
    parser.add_argument("filters", help="names and settings, the first nearest to the client")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with filtered(arguments.uri, *parse_filters(arguments.filters)) as uri, contextlib.suppress(KeyboardInterrupt):
            sys.stdout.write(f"{uri}\n")
            sys.stdout.flush()
            signal.pause()
    except DataplaneError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
