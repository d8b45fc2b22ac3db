# SPDX-License-Identifier: Apache-2.0
"""ML2 mechanism driver of the lab: binds every port, on any host, without an agent, and writes down ports and subnets.

Options ``[lab]`` of neutron.conf: ``vif_type`` matters to libvirt hosts only, fake ones plug nothing. With ``bridge``
os-vif makes one Linux bridge per network; with ``tap`` Nova makes a bare device for each port. ``state`` is the folder
of the notes from which the network process connects the devices (`wires.py`).

The port goes ACTIVE on binding, so Nova gets its network-vif-plugged event. Trunks and QoS rules are accepted and have
no effect on the traffic.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from neutron.services.trunk.drivers import base as trunk
from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.db import constants as db_constants
from neutron_lib.plugins.ml2 import api
from neutron_lib.services.qos import base as qos
from neutron_lib.services.trunk import constants as trunk_constants
from oslo_config import cfg

TYPES = ("local", "flat", "vlan", "vxlan", "geneve", "gre")
ANY = {"type:range": [0, db_constants.DB_INTEGER_MAX_VALUE]}
WAY = {"type:values": constants.VALID_DIRECTIONS}
RULES = {
    "bandwidth_limit": {"max_kbps": ANY, "max_burst_kbps": ANY, "direction": WAY},
    "minimum_bandwidth": {"min_kbps": ANY, "direction": WAY},
    "dscp_marking": {"dscp_mark": {"type:values": constants.VALID_DSCP_MARKS}},
}
PORT_FIELDS = ("id", "network_id", "mac_address", "fixed_ips")
SUBNET_FIELDS = ("id", "network_id", "cidr", "gateway_ip", "enable_dhcp", "ip_version")

cfg.CONF.register_opts([cfg.StrOpt("vif_type", default="tap"), cfg.StrOpt("state")], "lab")


class LabTrunkDriver(trunk.DriverBase):
    is_loaded = True


class LabQosDriver(qos.DriverBase):
    def validate_rule_for_port(self, context: Any, rule: Any, port: Any) -> bool:
        return True

    def validate_rule_for_network(self, context: Any, rule: Any, network_id: str) -> bool:
        return True


class LabMechanismDriver(api.MechanismDriver):
    def initialize(self) -> None:
        self.vif_type = cfg.CONF.lab.vif_type
        self.state = pathlib.Path(cfg.CONF.lab.state)
        segmentation = (trunk_constants.SEGMENTATION_TYPE_VLAN,)
        self.trunk = LabTrunkDriver("lab", (self.vif_type,), segmentation, can_trunk_bound_port=True)
        vif_types = [self.vif_type, portbindings.VIF_TYPE_UNBOUND]
        self.qos = LabQosDriver("lab", vif_types, [portbindings.VNIC_NORMAL], RULES)

    @property
    def connectivity(self) -> str:
        return portbindings.CONNECTIVITY_L2

    def bind_port(self, context: Any) -> None:
        for segment in context.segments_to_bind:
            if segment[api.NETWORK_TYPE] in TYPES:
                details = {portbindings.CAP_PORT_FILTER: False}
                if self.vif_type == "bridge":
                    details["bridge_name"] = "brq" + context.current["network_id"][:11]
                status = constants.PORT_STATUS_ACTIVE
                context.set_binding(segment[api.ID], self.vif_type, details, status=status)
                return

    # --- notes for the network process ---

    def create_port_postcommit(self, context: Any) -> None:
        self._note("ports", context.current, PORT_FIELDS)

    update_port_postcommit = create_port_postcommit

    def delete_port_postcommit(self, context: Any) -> None:
        self._forget("ports", context.current)

    def create_subnet_postcommit(self, context: Any) -> None:
        self._note("subnets", context.current, SUBNET_FIELDS)

    update_subnet_postcommit = create_subnet_postcommit

    def delete_subnet_postcommit(self, context: Any) -> None:
        self._forget("subnets", context.current)

    def _note(self, kind: str, thing: dict[str, Any], fields: tuple[str, ...]) -> None:
        path = self.state / kind / thing["id"]
        part = self.state / (thing["id"] + ".part")
        part.write_text(json.dumps({name: thing[name] for name in fields}, default=str))
        os.replace(part, path)

    def _forget(self, kind: str, thing: dict[str, Any]) -> None:
        (self.state / kind / thing["id"]).unlink(missing_ok=True)
