# SPDX-License-Identifier: Apache-2.0
"""Entry points. ``assembly`` makes the services from their configuration; nobody imports this package."""
