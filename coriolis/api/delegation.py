# SPDX-License-Identifier: Apache-2.0
"""The caller's leave to act: for a job that outlives the token, asked of Keystone when a job is submitted that needs
it; for a question, the token itself."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator

from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.commands import trusts
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.domain.delegation import acts_for_user
from coriolis.domain.errors import CoriolisError
from coriolis.rpc import messages
from coriolis.runtime.secrets import Lent
from coriolis.store import endpoints
from coriolis.store.rows import Action, Endpoint


@contextlib.contextmanager
def leave(
    request: ApiRequest, services: Services, *, job: Action | None = None, ends: Iterable[str | NewEndpoint] = ()
) -> Iterator[Caller]:
    """The caller to submit with, for a job that there is or for endpoints by id or by content. Has a trust when the
    work has to read a secret later, or to act as the user; it is ended when the job is not accepted.

    :raises Forbidden: Keystone refuses to make the trust. :raises Unavailable: Keystone does not answer
    """
    keystone, caller = services.trusts, request.caller
    wanted = [*ends, *((job.origin_endpoint_id, job.destination_endpoint_id) if job is not None else ())]
    if keystone is None or not _needed(wanted, caller, services):
        yield caller
        return
    context = request.context
    trust_id = trusts.grant(services.db, keystone, caller, token=str(context.auth_token), roles=context.roles)
    try:
        yield dataclasses.replace(caller, trust_id=trust_id)
    except CoriolisError:
        trusts.release(services.db, keystone, trust_id)
        raise


def lent(account: Endpoint | NewEndpoint, request: ApiRequest, services: Services) -> messages.Endpoint:
    """An endpoint as a worker gets it for a question of this request. Where a job would need the caller's leave, the
    caller's own token goes with it, sealed, so that nobody reads by us what Keystone does not let them read."""
    token = None
    if services.trusts is not None and request.context.auth_token and _needs_leave(account, services):
        own = Lent(token=str(request.context.auth_token), project_id=request.caller.project_id)
        token = services.vault.seal_token(own)
    return messages.Endpoint(type=account.type, sealed=account.sealed, secret_ref=account.secret_ref, token=token)


def _needed(ends: list[str | NewEndpoint], caller: Caller, services: Services) -> bool:
    ids = [end for end in ends if isinstance(end, str)]
    with services.db.reader() as conn:
        rows = endpoints.find(conn, ids, caller.scope) if ids else {}
    accounts: list[Endpoint | NewEndpoint] = [end for end in ends if not isinstance(end, str)]
    return any(_needs_leave(account, services) for account in (*accounts, *rows.values()))


def _needs_leave(account: Endpoint | NewEndpoint, services: Services) -> bool:
    if account.sealed is None:
        return True
    found = services.catalogue.schemas_if_live(account.type)
    return found is not None and acts_for_user(found.connection, services.vault.unseal(account.sealed))
