# SPDX-License-Identifier: Apache-2.0
"""Options of the Prometheus exporter."""

from __future__ import annotations

from oslo_config import cfg

GROUP = "metrics"

OPTS: tuple[cfg.Opt, ...] = (
    cfg.HostAddressOpt("listen_address", default="127.0.0.1", help="Address of the exporter."),
    cfg.PortOpt("listen_port", default=0, help="Port of the exporter of this process. 0 switches it off."),
)
