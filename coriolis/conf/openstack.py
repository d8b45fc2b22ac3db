# SPDX-License-Identifier: Apache-2.0
"""Options of a worker that serves OpenStack clouds."""

from __future__ import annotations

from oslo_config import cfg

GROUP = "openstack"
#: Where providers, which know no configuration, find ``ceph_clusters_file``.
CEPH_CLUSTERS = "CORIOLIS_OPENSTACK_CEPH_CLUSTERS"
#: Likewise ``nfs_shares_file``.
NFS_SHARES = "CORIOLIS_OPENSTACK_NFS_SHARES"
#: Likewise ``iscsi_portals_file``.
ISCSI_PORTALS = "CORIOLIS_OPENSTACK_ISCSI_PORTALS"
#: Likewise ``own_servers_file``.
OWN_SERVERS = "CORIOLIS_OPENSTACK_OWN_SERVERS"
#: Option -> the environment variable in which the worker's children get it.
HANDED_ON = {
    "ceph_clusters_file": CEPH_CLUSTERS,
    "nfs_shares_file": NFS_SHARES,
    "iscsi_portals_file": ISCSI_PORTALS,
    "own_servers_file": OWN_SERVERS,
}

OPTS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "ceph_clusters_file",
        default="",
        help="An INI file that says which Ceph clusters this worker may enter by itself, for which cloud, and where "
        "the key is. Empty: volumes in Ceph are reached as any others are, through Cinder, Nova and Glance. The worker "
        "gives the path to its children in the environment variable CORIOLIS_OPENSTACK_CEPH_CLUSTERS, which may "
        "also be set from outside.",
    ),
    cfg.StrOpt(
        "nfs_shares_file",
        default="",
        help="An INI file that says which NFS shares of which cloud are mounted on this worker, and where: the volumes "
        "in them are opened without a server in the cloud. Empty: they are reached as any others are. The worker gives "
        "the path to its children in the environment variable CORIOLIS_OPENSTACK_NFS_SHARES, which may also be set "
        "from outside.",
    ),
    cfg.StrOpt(
        "iscsi_portals_file",
        default="",
        help="An INI file that says which iSCSI portals of which cloud this worker may speak to: volumes behind them "
        "are read without a server in the cloud. Empty: they are reached as any others are. The worker gives the path "
        "to its children in the environment variable CORIOLIS_OPENSTACK_ISCSI_PORTALS, which may also be set from "
        "outside.",
    ),
    cfg.StrOpt(
        "own_servers_file",
        default="",
        help="An INI file that says which server of which cloud this worker runs in: volumes of its project there are "
        "attached to it. Empty: it is none. The worker gives the path to its children in the environment variable "
        "CORIOLIS_OPENSTACK_OWN_SERVERS, which may also be set from outside.",
    ),
)
