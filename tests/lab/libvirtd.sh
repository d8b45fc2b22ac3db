#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# libvirtd.sh HOST DIR - a libvirtd of its own for one compute host.  Run in new mount and UTS namespaces
# (unshare -m -u): its files are in DIR and the host name is HOST, so several can live on one machine
# and guests can be live-migrated between them.
set -e
host=$1 dir=$2
hostname "$host"
for sub in etc run lib cache log; do mkdir -p "$dir/$sub"; done
uuid=$(printf '%s' "$host$dir" | md5sum | sed 's/^\(........\)\(....\).\(...\).\(...\)\(............\).*/\1-\2-4\3-8\4-\5/')
cat > "$dir/etc/libvirtd.conf" <<EOF
host_uuid = "$uuid"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
EOF
cat > "$dir/etc/qemu.conf" <<EOF
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
migration_address = "127.0.1.1"
migration_host = "127.0.1.1"
EOF
: > "$dir/etc/libvirt.conf"
mount_over() { mkdir -p "$2"; mount --bind "$1" "$2"; }
mount_over "$dir/etc" /etc/libvirt
mount_over "$dir/run" /run/libvirt
mount_over "$dir/lib" /var/lib/libvirt
mount_over "$dir/cache" /var/cache/libvirt
mount_over "$dir/log" /var/log/libvirt
exec libvirtd --config /etc/libvirt/libvirtd.conf --pid-file /run/libvirt/libvirtd.pid
