# SPDX-License-Identifier: Apache-2.0
"""A worker's desk in the process of the test: it answers provider calls with the real provider."""

from __future__ import annotations

import logging
from pathlib import Path

from coriolis.domain.codec import to_json
from coriolis.domain.errors import CoriolisError
from coriolis.providers import registry
from coriolis.providers.api import Connection, Context, ProviderError
from coriolis.rpc import messages
from coriolis.runtime import local_token
from coriolis.runtime.secrets import Vault
from coriolis.worker.calls import carry_out
from coriolis.worker.classify import classify

TOKEN = "a-token-of-the-tests"
PROJECT = local_token.PROJECT_ID
SESSION = "11111111-1111-4111-8111-111111111111"
PREFIX = f"/v1/{PROJECT}"


class Desk:
    """Answers provider calls in this process, as a worker does in a child: with the real provider."""

    def __init__(self, vault: Vault, scratch: Path) -> None:
        self._vault = vault
        self._context = Context(log=logging.getLogger("tests"), scratch=scratch)
        self.calls: list[messages.ProviderCall] = []

    def __call__(self, call: messages.ProviderCall) -> messages.ProviderReply:
        self.calls.append(call)
        assert call.endpoint is not None
        provider = registry.load(call.endpoint.type)
        if call.operation == "schemas":
            return messages.ProviderReply(value=provider.schemas)

        def connect() -> Connection:
            assert call.endpoint is not None
            return provider.connect(self._vault.open(call.endpoint), self._context)

        try:
            value = carry_out(call, connect, self._context)
        except (ProviderError, CoriolisError) as error:
            return messages.ProviderReply(error=classify(error))
        return messages.ProviderReply(value=to_json(value))
