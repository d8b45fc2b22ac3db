# SPDX-License-Identifier: Apache-2.0
"""The demonstration: a small real guest, packed as an OVA, migrated to a private libvirt and booted there."""
