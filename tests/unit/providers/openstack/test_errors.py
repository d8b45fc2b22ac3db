# SPDX-License-Identifier: Apache-2.0
"""What a cloud says, as one of the five ways to fail: whether trying again helps, and what else does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk

from coriolis.providers.api import Conflict, Gone, Invalid, ProviderError, Unauthorized, Unavailable
from coriolis.providers.openstack.errors import classify, translated


class _Answer(sdk.HttpException):
    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(message=text)
        self.status_code, self.details, self.response = status, text, SimpleNamespace(headers=headers)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("status", "text", "kind", "said"),
    [
        (400, "Volume status must be available", Invalid, "status must be available"),
        (401, "The request requires authentication", Unauthorized, "give others, or start again"),
        (403, "Policy doesn't allow this", Unauthorized, "lack the right"),
        (403, "Quota exceeded for cores", Conflict, "cores (HTTP 403); delete what"),
        (404, "No volume with id", Gone, "No volume"),
        (409, "IP address already allocated", Conflict, "already allocated (HTTP 409)"),
        (409, "Quota exceeded for resources: ['port']", Conflict, "ask an administrator for more"),
        (413, "VolumeSizeExceedsAvailableQuota", Conflict, "AvailableQuota"),
        (429, "Too many", Unavailable, "Too many"),
        (500, "Oops", Unavailable, "Oops"),
        (503, "No server is available", Unavailable, "No server"),
    ],
)
def test_what_a_service_answers(status: int, text: str, kind: type[ProviderError], said: str) -> None:
    found = classify(_Answer(status, text), "making a volume")
    assert type(found) is kind
    assert found.message.startswith("making a volume: ")
    assert said in found.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (keystone.ConnectFailure("refused"), Unavailable),
        (keystone.ConnectTimeout("slow"), Unavailable),
        (keystone.DiscoveryFailure("no versions"), Unavailable),
        (keystone.SSLError("self-signed"), Unauthorized),
        (keystone.EndpointNotFound("no volumev3"), Gone),
        (keystone.Unauthorized("wrong password"), Unauthorized),
        (keystone.NotFound("no application credential", url="http://cloud/v3/auth/tokens"), Unauthorized),
        (keystone.NotFound("no such image", url="http://cloud/v2/images/1"), Gone),
        (keystone.InternalServerError("oops"), Unavailable),
        (sdk.DuplicateResource("two networks"), Conflict),
        (sdk.NotFoundException("no image"), Gone),
        (sdk.SDKException("something else"), Unavailable),
    ],
)
def test_what_has_no_answer(error: Exception, kind: type[ProviderError]) -> None:
    assert type(classify(error, "asking")) is kind


def test_when_to_come_back_is_kept() -> None:
    later: dict[str, Any] = {"Retry-After": "7"}
    assert classify(_Answer(429, "later", **later), "asking").retry_after_seconds == 7.0
    assert classify(_Answer(429, "later"), "asking").retry_after_seconds is None


@pytest.mark.parametrize(
    ("status", "said"), [(500, "(HTTP 500 of http://cinder:8776/v3/volumes)"), (409, "(HTTP 409)")]
)
def test_a_fault_of_a_service_names_the_service(status: int, said: str) -> None:
    error = _Answer(status, "Oops")
    error.url = "http://cinder:8776/v3/volumes?limit=1"
    assert said in classify(error, "making a volume").message


def test_our_own_errors_are_left_alone() -> None:
    with pytest.raises(Gone, match=r"^inner$"), translated("outer"):
        raise Gone("inner")
