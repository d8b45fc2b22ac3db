# SPDX-License-Identifier: Apache-2.0
"""Integrity certificates."""

from __future__ import annotations

from coriolis.api.dispatch import Handler, Route
from coriolis.api.schemas import certificates as schemas
from coriolis.api.v1 import certificates


def _certificate(path: str, handler: Handler, summary: str) -> Route:
    return Route(
        method="GET",
        path=f"{path}/certificate",
        handler=handler,
        policy="migration:certificates:show",
        summary=summary,
        answer=schemas.ONE_CERTIFICATE,
        fails=(503,),
    )


ROUTES: tuple[Route, ...] = (
    _certificate(
        "/migrations/{migration_id}", certificates.of_migration, "Show the signed certificate of a migration's disks"
    ),
    _certificate(
        "/transfers/{transfer_id}/executions/{execution_id}",
        certificates.of_execution,
        "Show the signed certificate of an execution's disks",
    ),
    _certificate(
        "/deployments/{deployment_id}",
        certificates.of_deployment,
        "Show the signed certificate of a deployment's disks",
    ),
    Route(
        method="GET",
        path="/certificate_key",
        handler=certificates.key,
        policy="migration:certificates:show_key",
        summary="Show the public key that certificates are signed with",
        answer=schemas.ONE_KEY,
        fails=(503,),
    ),
)
