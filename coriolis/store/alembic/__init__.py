# SPDX-License-Identifier: Apache-2.0
"""Alembic's folder: ``env`` runs the revisions in ``versions``."""
