# SPDX-License-Identifier: Apache-2.0
"""Integrity certificates: signed documents, to be kept as they are."""

from __future__ import annotations

from typing import Any

from openstack import exceptions
from openstack import proxy as sdk_proxy

from coriolis.client.deployment import Deployment
from coriolis.client.job import id_of
from coriolis.client.migration import Migration
from coriolis.client.transfer import Transfer, TransferExecution

Json = dict[str, Any]


class CertificateMethods(sdk_proxy.Proxy):
    def migration_certificate(self, migration: str | Migration) -> Json:
        """Of the latest run of a migration that is over."""
        return self._fetch_certificate(f"/migrations/{id_of(migration)}")

    def deployment_certificate(self, deployment: str | Deployment) -> Json:
        return self._fetch_certificate(f"/deployments/{id_of(deployment)}")

    def transfer_execution_certificate(self, transfer: str | Transfer, execution: str | TransferExecution) -> Json:
        return self._fetch_certificate(f"/transfers/{id_of(transfer)}/executions/{id_of(execution)}")

    def certificate_key(self) -> Json:
        """The public key that the service signs with: ``algorithm``, ``key_id``, ``public_key`` in base64."""
        return self._fetch_one("/certificate_key", "certificate_key")

    def _fetch_certificate(self, path: str) -> Json:
        return self._fetch_one(f"{path}/certificate", "certificate")

    def _fetch_one(self, path: str, name: str) -> Json:
        response = self.get(path)
        exceptions.raise_from_response(response)
        found: Json = response.json()[name]
        return found
