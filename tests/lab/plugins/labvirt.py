# SPDX-License-Identifier: Apache-2.0
"""Compute driver for the lab: Nova's fake driver, plus what a migration test needs of a hypervisor.

* each server has a disk file with the real bytes of its image; a snapshot uploads these bytes
* the disk files are in one folder shared by all hosts, so evacuation and migration keep them
* the servers survive a restart of nova-compute
* a host does not ask Placement for the allocations of all its servers with each new one: hundreds are on one host
"""

from __future__ import annotations

import os

from nova import context as nova_context
from nova import objects
from nova.compute import task_states
from nova.image import glance
from nova.scheduler.client import report
from nova.virt import fake
from oslo_config import cfg

CONF = cfg.CONF
CONF.register_opts([cfg.StrOpt("disks", help="folder of the disk files")], "lab")
# the plain FakeDriver of newer releases forgets the identity of its node at a restart
Base = getattr(fake, "FakeDriverWithoutFakeNodes", fake.FakeDriver)
# What Nova wants them for are PCI devices, and drivers that rearrange their resources: neither is the case here.
report.SchedulerReportClient.get_allocations_for_provider_tree = lambda self, context, nodename: {}


class LabDriver(Base):
    def _disk(self, instance):
        return os.path.join(CONF.lab.disks, instance.uuid)

    def init_host(self, host):
        super().init_host(host)
        for instance in objects.InstanceList.get_by_host(nova_context.get_admin_context(), host):
            if instance.vm_state not in ("building", "deleted", "error", "shelved_offloaded"):
                self.instances[instance.uuid] = fake.FakeInstance(instance.name, instance.power_state, instance.uuid)
                self.resources.claim(vcpus=instance.vcpus, mem=instance.memory_mb, disk=instance.root_gb)

    def spawn(self, context, instance, image_meta, *args, **kwargs):
        super().spawn(context, instance, image_meta, *args, **kwargs)
        path = self._disk(instance)
        if image_meta and instance.image_ref and not os.path.exists(path):  # it exists when evacuated
            glance.API().download(context, image_meta.id, dest_path=path)

    def snapshot(self, context, instance, image_id, update_task_state):
        update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
        image = glance.API().get(context, image_id)
        base = instance.image_meta
        update_task_state(task_state=task_states.IMAGE_UPLOADING, expected_state=task_states.IMAGE_PENDING_UPLOAD)
        with open(self._disk(instance), "rb") as data:
            glance.API().update(
                context,
                image_id,
                {
                    "name": image["name"],
                    "status": "active",
                    "properties": {},
                    "disk_format": base.disk_format or "raw",
                    "container_format": base.container_format or "bare",
                },
                data,
                purge_props=False,
            )

    def destroy(self, context, instance, network_info, block_device_info=None, destroy_disks=True, *args, **kwargs):
        super().destroy(context, instance, network_info, block_device_info, destroy_disks, *args, **kwargs)
        # a host that a server leaves calls this too: the file is not its own
        gone = instance.task_state in (task_states.DELETING, task_states.REBUILDING, task_states.SHELVING_OFFLOADING)
        if destroy_disks and gone and instance.host == CONF.host and os.path.exists(self._disk(instance)):
            os.unlink(self._disk(instance))

    def post_live_migration(self, context, instance, block_device_info, migrate_data=None):
        if instance.uuid in self.instances:
            self.destroy(context, instance, None, destroy_disks=False)  # it runs elsewhere now

    def instance_on_disk(self, instance):
        return not instance.image_ref or os.path.exists(self._disk(instance))

    # every host sees the same folder

    def check_instance_shared_storage_local(self, context, instance):
        return {"shared": True}

    def check_instance_shared_storage_remote(self, context, data):
        return True

    def check_instance_shared_storage_cleanup(self, context, data):
        pass
