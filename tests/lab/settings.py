# SPDX-License-Identifier: Apache-2.0
"""The text of every configuration file of a cloud. What differs between the releases comes from `release`."""

from __future__ import annotations

import configparser
import io
from collections.abc import Mapping
from typing import Any

from tests.lab.places import PASSWORD, REGION, Home
from tests.lab.release import RELEASES
from tests.lab.spec import ISCSI, CloudSpec

Sections = dict[str, dict[str, Any]]

# Service user -> type, name and path of its catalog entries.
CATALOG: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "glance": (("image", "glance", ""),),
    "placement": (("placement", "placement", ""),),
    "nova": (("compute", "nova", "/v2.1"),),
    "neutron": (("network", "neutron", ""),),
    "cinder": (("volumev3", "cinderv3", "/v3"), ("block-storage", "cinder", "/v3")),
    "barbican": (("key-manager", "barbican", ""),),
}
# Of Nova, what is the same in every cloud.
_NOVA: Mapping[str, Mapping[str, Any]] = {
    "DEFAULT": {
        "my_ip": "127.0.0.1",
        "allow_resize_to_same_host": True,
        "instances_path": "$state_path/instances",
        "osapi_compute_listen": "127.0.0.1",
        "osapi_compute_workers": 1,
        "force_config_drive": True,
        "config_drive_format": "iso9660",
        "vif_plugging_timeout": 20,
        "vif_plugging_is_fatal": False,
        "resize_confirm_window": 0,
        "resume_guests_state_on_host_boot": True,
        "shutdown_timeout": 10,
        "report_interval": 5,
        "service_down_time": 15,
        "running_deleted_instance_action": "reap",
        # small guests on a small machine
        "initial_cpu_allocation_ratio": 64,
        "initial_ram_allocation_ratio": 4,
        "initial_disk_allocation_ratio": 64,
        "reserved_host_memory_mb": 0,
    },
    "api": {"auth_strategy": "keystone"},
    "conductor": {"workers": 1},
    "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 5},
    "filter_scheduler": {"host_subset_size": 1, "track_instance_changes": True},
    "quota": {"instances": -1, "cores": -1, "ram": -1},
    "libvirt": {
        "virt_type": "qemu",
        "cpu_mode": "none",
        "images_type": "qcow2",
        "num_pcie_ports": 16,
        "nfs_mount_point_base": "$state_path/mnt",
        "disk_cachemodes": "file=writeback",
    },
    "vnc": {"enabled": False},
    "spice": {"enabled": False},
    "workarounds": {"disable_rootwrap": True},
}


def _auth(spec: CloudSpec, user: str, **more: Any) -> dict[str, Any]:
    """The options of a keystoneauth section, for a service user."""
    return {
        "auth_type": "password",
        "auth_url": spec.url("keystone", "/v3"),
        "username": user,
        "password": PASSWORD,
        "user_domain_name": "Default",
        "project_name": "service",
        "project_domain_name": "Default",
        "region_name": REGION,
        **more,
    }


def _db(spec: CloudSpec, name: str) -> dict[str, Any]:
    place = f"127.0.0.1:{spec.port('mariadb')}"
    return {"connection": f"mysql+pymysql://lab:{PASSWORD}@{place}/{name}?charset=utf8mb4"}


def _shared(spec: CloudSpec, home: Home, user: str, **default: Any) -> Sections:
    """Sections that nearly every service has."""
    keystone = spec.url("keystone", "/v3")
    return {
        "DEFAULT": {
            "transport_url": f"rabbit://lab:{PASSWORD}@127.0.0.1:{spec.port('rabbit')}/",
            "state_path": home.var / user,
            "debug": spec.debug,
            "host": "lab",
            **default,
        },
        "database": _db(spec, user),
        "keystone_authtoken": _auth(
            spec,
            user,
            www_authenticate_uri=keystone,
            service_token_roles="service",
            service_token_roles_required=True,
        ),
        "service_user": _auth(spec, user, send_service_user_token=True),
        "oslo_concurrency": {"lock_path": home.var / user / "lock"},
        "oslo_middleware": {"enable_proxy_headers_parsing": True},
        "key_manager": {"backend": "barbican"},
        "barbican": {
            "auth_endpoint": keystone,
            "barbican_endpoint": spec.url("barbican"),
            "barbican_region_name": REGION,
            "send_service_user_token": True,
        },
        "barbican_service_user": _auth(spec, user),
    }


def _merge(sections: Sections, more: Mapping[str, Mapping[str, Any]]) -> Sections:
    for name, options in more.items():
        sections.setdefault(name, {}).update(options)
    return sections


def _keystone(spec: CloudSpec, home: Home) -> Sections:
    return {
        "DEFAULT": {"debug": spec.debug},
        "database": _db(spec, "keystone"),
        "token": {"provider": "fernet", "expiration": spec.token_seconds},
        "fernet_tokens": {"key_repository": home.var / "keystone/fernet"},
        "fernet_receipts": {"key_repository": home.var / "keystone/fernet"},
        "credential": {"key_repository": home.var / "keystone/credential"},
        "identity": {"password_hash_rounds": 4},  # quick logins: a lab
        # In its one process: without it a token costs five queries, and hundreds of servers are much asked about.
        "cache": {"enabled": spec.virt == "fake", "backend": "oslo_cache.dict"},
    }


def _glance(spec: CloudSpec, home: Home) -> Sections:
    var = home.var / "glance"
    stores = {"file1": "file", "file2": "file"}
    options: Sections = {name: {"filesystem_store_datadir": var / name} for name in stores}
    for name, more in spec.additions.glance_stores.items():
        options[name] = {key: value for key, value in more.items() if key != "type"}
        stores[name] = more["type"]
    default = {
        "bind_host": "127.0.0.1",
        "bind_port": spec.port("glance"),
        "enabled_backends": ",".join(f"{name}:{kind}" for name, kind in stores.items()),
        "workers": 0,
        "enabled_import_methods": RELEASES[spec.release].import_methods,
        "worker_self_reference_url": spec.url("glance"),
    }
    more_sections: Sections = {
        "glance_store": {"default_backend": "file1"},
        **options,
        "os_glance_staging_store": {"filesystem_store_datadir": var / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": var / "tasks"},
        "paste_deploy": {"flavor": "keystone", "config_file": home.etc / "glance-paste.ini"},
        # web-download refuses the loopback, and every port but 80 and 443, unless told
        "import_filtering_opts": {"allowed_hosts": "[127.0.0.1,localhost]", "allowed_ports": "[]"},
        "image_import_opts": {"image_import_plugins": "[]"},
        "oslo_limit": _auth(spec, "glance"),
    }
    return _merge(_shared(spec, home, "glance", **default), more_sections)


def _placement(spec: CloudSpec, home: Home) -> Sections:
    sections = _shared(spec, home, "placement")
    sections["placement_database"] = sections.pop("database")
    sections["api"] = {"auth_strategy": "keystone"}
    return sections


def _nova(spec: CloudSpec, home: Home) -> Sections:
    default = {
        "compute_driver": "libvirt.LibvirtDriver" if spec.virt == "libvirt" else "labvirt.LabDriver",
        "osapi_compute_listen_port": spec.port("nova"),
        # Seconds. Each time, a host asks Placement about each server that it has.
        "update_resources_interval": 15 if spec.virt == "libvirt" else 600,
    }
    more: Sections = {
        "api_database": _db(spec, "nova_api"),
        "wsgi": {"api_paste_config": home.etc / "nova-paste.ini"},
        "glance": _auth(spec, "nova"),
        "placement": _auth(spec, "nova"),
        "neutron": _auth(spec, "nova", service_metadata_proxy=False),
        "cinder": _auth(spec, "nova", os_region_name=REGION),
        "libvirt": {"live_migration_uri": f"qemu+unix:///system?socket={home.var}/libvirt/%s/run/libvirt-sock"},
        "lab": {"disks": home.var / "nova/disks"},
    }
    return _merge(_merge(_shared(spec, home, "nova", **default), _NOVA), more)


def _compute(spec: CloudSpec, home: Home, host: str) -> Sections:
    """As in real life, nova-compute has no data base: it refuses one."""
    sections = _nova(spec, home)
    sections["DEFAULT"].update(host=host, state_path=home.var / "nova" / host)
    del sections["database"], sections["api_database"]
    return sections


def _neutron(spec: CloudSpec, home: Home) -> Sections:
    release = RELEASES[spec.release]
    default = {
        "bind_host": "127.0.0.1",
        "bind_port": spec.port("neutron"),
        "core_plugin": "ml2",
        "service_plugins": release.neutron_plugins,
        "api_workers": 0,
        "rpc_workers": 1,
        "rpc_state_report_workers": 0,
        "notify_nova_on_port_status_changes": True,
        "notify_nova_on_port_data_changes": True,
        "dhcp_agent_notification": False,
        "global_physnet_mtu": 1500,
        "api_paste_config": home.etc / "neutron-paste.ini",
    }
    more: Sections = {
        "nova": _auth(spec, "nova"),
        "placement": _auth(spec, "placement"),
        "ml2": {
            "type_drivers": "local,flat,vlan,vxlan",
            "tenant_network_types": "vxlan",
            "mechanism_drivers": "lab",
            "extension_drivers": "port_security,qos",
        },
        "lab": {"vif_type": release.vif_type, "state": home.network},
        "ml2_type_flat": {"flat_networks": "*"},
        "ml2_type_vlan": {"network_vlan_ranges": "physnet1:100:199,physnet2"},
        "ml2_type_vxlan": {"vni_ranges": "1000:9999"},
        "quotas": {f"quota_{noun}": -1 for noun in ("network", "subnet", "port", "router", "floatingip")},
    }
    return _merge(_shared(spec, home, "neutron", **default), more)


def _nfs(spec: CloudSpec, home: Home, name: str) -> dict[str, Any]:
    return {
        "volume_driver": "cinder.volume.drivers.nfs.NfsDriver",
        "nfs_shares_config": home.etc / f"cinder-{name}.shares",
        "nfs_mount_point_base": home.var / "cinder/mnt",
        "nfs_snapshot_support": True,
        "nas_secure_file_operations": False,
        "nas_secure_file_permissions": False,
        "nfs_sparsed_volumes": True,
    }


def _iscsi(spec: CloudSpec, home: Home, name: str) -> dict[str, Any]:
    return {
        "volume_driver": "labcinder.FileDriver",
        "lab_files": home.var / "cinder" / name,
        "volumes_dir": home.var / "cinder/targets",
        "target_ip_address": "127.0.0.1",
        "target_port": spec.port("tgt"),
    }


def _cinder(spec: CloudSpec, home: Home) -> Sections:
    made: Sections = {name: (_iscsi if name == ISCSI else _nfs)(spec, home, name) for name in spec.backends}
    everything = (*made.items(), *spec.additions.cinder_backends.items())
    backends: Sections = {name: {"volume_backend_name": name, **options} for name, options in everything}
    default = {
        "osapi_volume_listen": "127.0.0.1",
        "osapi_volume_workers": 1,
        "osapi_volume_listen_port": spec.port("cinder"),
        "my_ip": "127.0.0.1",
        "enabled_backends": ",".join(backends),
        "api_paste_config": home.etc / "cinder-paste.ini",
        "glance_api_servers": spec.url("glance"),
        "auth_strategy": "keystone",
        "default_volume_type": "__DEFAULT__",
        "allowed_direct_url_schemes": "",
        "image_conversion_dir": "$state_path/conversion",
        "backup_driver": "cinder.backup.drivers.posix.PosixBackupDriver",
        "backup_posix_path": "$state_path/backup",
        "resource_query_filters_file": home.etc / "cinder-resource_filters.json",
        "storage_availability_zone": "nova",
        "rootwrap_config": "/dev/null",
        "quota_volumes": -1,
        "quota_snapshots": -1,
        "quota_gigabytes": -1,
    }
    more: Sections = {
        "coordination": {"backend_url": f"file://{home.var}/cinder/coord"},
        "nova": _auth(spec, "nova", interface="public"),
        **backends,
    }
    return _merge(_shared(spec, home, "cinder", **default), more)


def _barbican(spec: CloudSpec, home: Home) -> Sections:
    default = {
        "host_href": spec.url("barbican"),
        "db_auto_create": False,
        "sql_connection": _db(spec, "barbican")["connection"],
    }
    more: Sections = {
        "secretstore": {"enabled_secretstore_plugins": "store_crypto"},
        "crypto": {"enabled_crypto_plugins": "simple_crypto"},
        "simple_crypto_plugin": {"kek": "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="},
        "queue": {"enable": False},
    }
    return _merge(_shared(spec, home, "barbican", **default), more)


_SERVICES = {
    "keystone": _keystone,
    "glance": _glance,
    "placement": _placement,
    "nova": _nova,
    "neutron": _neutron,
    "cinder": _cinder,
    "barbican": _barbican,
}


def _rabbit(spec: CloudSpec) -> str:
    options = {
        "listeners.tcp.1": f"127.0.0.1:{spec.port('rabbit')}",
        "loopback_users": "none",
        "default_user": "lab",
        "default_pass": PASSWORD,
        "log.console": "true",
        "log.file": "false",
        "vm_memory_high_watermark.absolute": "1GB",
        "disk_free_limit.absolute": "100MB",
    }
    return "".join(f"{key} = {value}\n" for key, value in options.items())


def _render(sections: Mapping[str, Mapping[str, Any]]) -> str:
    out = configparser.RawConfigParser(default_section="_none_")
    out.optionxform = str  # type: ignore[assignment,method-assign]
    for name, options in sections.items():
        if options:
            out[name] = {key: str(value) for key, value in options.items()}
    text = io.StringIO()
    out.write(text)
    return text.getvalue()


def files(spec: CloudSpec, home: Home) -> dict[str, str]:
    """The text of each file in the folder ``etc`` of the cloud."""
    every = {name: make(spec, home) for name, make in _SERVICES.items()}
    for host in spec.host_names:
        every[f"compute-{host}"] = _compute(spec, home, host)
    for name, sections in every.items():
        kind = "nova-compute" if name.startswith("compute-") else name
        _merge(sections, spec.additions.sections.get(kind, {}))
    out = {f"{name}.conf": _render(sections) for name, sections in every.items()}
    out["glance-api.conf"] = out["glance.conf"]  # the name that its WSGI application wants
    for name in spec.backends:
        if name == ISCSI:
            out["tgt.conf"] = f"include {home.var}/cinder/targets/*\n"
        else:
            out[f"cinder-{name}.shares"] = f"127.0.0.1:{home.var}/cinder/{name}\n"
    out["rabbitmq.conf"] = _rabbit(spec)
    return out


def folders(spec: CloudSpec) -> list[str]:
    """What must exist below ``var`` before the services start."""
    return [
        *(f"glance/{name}" for name in ("file1", "file2", "staging", "tasks")),
        *(f"cinder/{name}" for name in ("conversion", "backup", "mnt", "coord", "targets", *spec.backends)),
        *("keystone/fernet", "keystone/credential", "nova/disks", "neutron", "placement", "barbican"),
        *(f"nova/{host}/instances" for host in spec.host_names),
    ]
