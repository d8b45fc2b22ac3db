# SPDX-License-Identifier: Apache-2.0
"""A process that copies a file slowly into a volume in Ceph, to be killed or stopped by a test.

Arguments: folder of the cluster, volume, file, journal, epoch.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from coriolis.dataplane import CopyOptions, ImageSource, copy_disk
from coriolis.dataplane.pace import Pace
from coriolis.providers.openstack.rbd import writing
from tests.integration.rbd_cluster import MIB, Volume, context
from tests.lab.ceph import Ceph


def main(folder: str, name: str, raw: str, journal: str, epoch: str) -> None:
    image = Volume(Ceph(Path(folder)), name).image()
    pace = Pace()
    pace.set(8.0 * MIB)
    options = CopyOptions(flush_bytes=2 * MIB, redo_limit=8 * MIB, pace=pace)
    with writing(image, context(Path(journal).parent, int(epoch)), zeroed=True) as sink:
        copy_disk(ImageSource(path=Path(raw)), sink, journal=Path(journal), epoch=int(epoch), options=options)


if __name__ == "__main__":
    main(*sys.argv[1:])
