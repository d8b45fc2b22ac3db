# SPDX-License-Identifier: Apache-2.0
"""Coriolis: cloud migration as a service."""
