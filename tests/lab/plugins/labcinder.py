# SPDX-License-Identifier: Apache-2.0
"""Volume driver for the lab: sparse files that tgtd, an iSCSI target in user space, shows to the network.

The exports are Cinder's own (`TgtAdm`): its targets, CHAP secrets and connection info are those of the LVM driver. That
driver itself needs a kernel with a device mapper.
"""

from __future__ import annotations

import os
import subprocess

from cinder import interface
from cinder.image import image_utils
from cinder.volume import driver, volume_utils
from cinder.volume.targets import tgt
from oslo_config import cfg

_GIB = 1 << 30
_ROOM = 1000  # GiB
OPTIONS = [cfg.StrOpt("lab_files", help="folder of the volumes and their snapshots")]


@interface.volumedriver
class FileDriver(driver.VolumeDriver):
    VERSION = "1"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)
        self.target_driver = tgt.TgtAdm(configuration=self.configuration, db=self.db, executor=self._execute)

    def check_for_setup_error(self):
        os.makedirs(self.configuration.lab_files, exist_ok=True)

    def _update_volume_stats(self):
        name = self.configuration.safe_get("volume_backend_name")
        room = {"total_capacity_gb": _ROOM, "free_capacity_gb": _ROOM, "reserved_percentage": 0}
        self._stats = {
            "volume_backend_name": name,
            "vendor_name": "lab",
            "driver_version": self.VERSION,
            "storage_protocol": "iSCSI",
            "pools": [{"pool_name": name, "multiattach": False, **room}],
        }

    def local_path(self, volume):
        return os.path.join(self.configuration.lab_files, volume.name)

    # volumes and snapshots

    def create_volume(self, volume):
        with open(self.local_path(volume), "wb") as file:
            file.truncate(volume.size * _GIB)

    def create_cloned_volume(self, volume, src_vref):
        self._copy(src_vref, volume)
        self.extend_volume(volume, volume.size)

    def create_volume_from_snapshot(self, volume, snapshot):
        self.create_cloned_volume(volume, snapshot)

    def create_snapshot(self, snapshot):
        self._copy(snapshot.volume, snapshot)

    def delete_volume(self, volume):
        if os.path.exists(self.local_path(volume)):
            os.unlink(self.local_path(volume))

    def delete_snapshot(self, snapshot):
        self.delete_volume(snapshot)

    def extend_volume(self, volume, new_size):
        os.truncate(self.local_path(volume), new_size * _GIB)

    def _copy(self, source, made):
        command = ["cp", "--sparse=always", "--reflink=auto", self.local_path(source), self.local_path(made)]
        subprocess.run(command, check=True)

    # images

    def copy_image_to_volume(self, context, volume, image_service, image_id, disable_sparse=False):
        image_utils.fetch_to_raw(context, image_service, image_id, self.local_path(volume), "1M", size=volume.size)
        self.extend_volume(volume, volume.size)

    def copy_volume_to_image(self, context, volume, image_service, image_meta):
        volume_utils.upload_volume(context, image_service, image_meta, self.local_path(volume), volume)

    # who reaches them

    def create_export(self, context, volume, connector):
        made = self.target_driver.create_export(context, volume, self.local_path(volume))
        return {"provider_location": made["location"], "provider_auth": made["auth"]}

    def ensure_export(self, context, volume):
        self.target_driver.ensure_export(context, volume, self.local_path(volume))

    def remove_export(self, context, volume):
        self.target_driver.remove_export(context, volume)

    def initialize_connection(self, volume, connector):
        return self.target_driver.initialize_connection(volume, connector)

    def terminate_connection(self, volume, connector, **kwargs):
        return self.target_driver.terminate_connection(volume, connector, **kwargs)

    def validate_connector(self, connector):
        return self.target_driver.validate_connector(connector)
