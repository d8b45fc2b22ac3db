# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document: valid, complete, and public."""

from __future__ import annotations

import inspect
import re

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from webtest import TestApp

from coriolis.api import openapi
from coriolis.api.dispatch import Route
from coriolis.api.routes import ROUTES


def test_is_valid_openapi(anonymous: TestApp) -> None:
    document = anonymous.get("/v1/openapi.json").json
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1.")
    assert anonymous.get("/v1/openapi").json == document


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_in_it(anonymous: TestApp, route: Route) -> None:
    operation = openapi.document(ROUTES)["paths"][openapi.path_of(route)][route.method.lower()]
    assert [str(status) for status in openapi.statuses(route)] == list(operation["responses"])
    holes = re.findall(r"\{([^}]+)\}", openapi.path_of(route))
    assert [one["name"] for one in operation["parameters"] if one["in"] != "header"] == [*holes, *route.query]
    assert ("requestBody" in operation) == (route.schema is not None)
    answer = operation["responses"][str(route.status)]
    assert ("content" in answer) == (route.status != 204), "declare the schema of the answer: Route.answer"
    for schema in (route.schema, route.answer):
        if schema is not None:
            Draft202012Validator.check_schema(dict(schema))


def test_the_header_of_creates_is_where_it_is_obeyed() -> None:
    """A handler that looks at the key has it in its route, and no other."""
    creates = [
        route for route in ROUTES if route.method == "POST" and "idempotency" in inspect.getsource(route.handler)
    ]
    assert {route.path for route in ROUTES if route.repeatable} == {route.path for route in creates}
    operation = openapi.document(ROUTES)["paths"]["/v1/{project_id}/transfers"]["post"]
    assert "Idempotency-Key" in [one["name"] for one in operation["parameters"]]


def test_nothing_else_is_in_it() -> None:
    found = {(path, method) for path, operations in openapi.document(ROUTES)["paths"].items() for method in operations}
    assert found == {(openapi.path_of(route), route.method.lower()) for route in ROUTES}


def test_names_of_operations_are_unique() -> None:
    names = [openapi.operation_id(route) for route in ROUTES]
    assert len(set(names)) == len(names)
