# SPDX-License-Identifier: Apache-2.0
"""What the resources of the service share: how they are found, changed and asked to do something."""

from __future__ import annotations

import uuid
from collections.abc import Generator
from typing import Any, Self

from openstack import exceptions, resource

PAGE = 200  # rows that a list asks for at a time; the next page is fetched when they are used up


class Paged(resource.Resource):
    """Something that comes in pages."""

    @classmethod
    def list(  # type: ignore[override]  # the same call, with fewer words
        cls, session: Any, paginated: bool = True, **params: Any
    ) -> Generator[Self, None, None]:
        """All rows, page by page; ``limit`` is the size of a page. One page only when ``paginated`` is false.

        A limit is always sent: without one the service ends its answer at its own largest page.
        """
        if paginated:
            params.setdefault("limit", PAGE)
        return super().list(session, paginated=paginated, **params)


class Record(Paged):
    """A stored object. Times are naive UTC, ``2026-11-21T10:00:00.000000``; ids are UUIDs."""

    commit_method = "PUT"
    NAMED = True

    project_id = resource.Body("project_id")
    user_id = resource.Body("user_id")
    created_at = resource.Body("created_at")
    updated_at = resource.Body("updated_at")

    @classmethod
    def find(  # type: ignore[override]  # the same call, with fewer words
        cls, session: Any, name_or_id: str, ignore_missing: bool = True, **params: Any
    ) -> Self | None:
        """By id when it looks like one, else by name, which must be unique. Names may hold ``/``, quotes or anything.

        :raises openstack.exceptions.NotFoundException: there is none, and it must not be missing
        :raises openstack.exceptions.DuplicateResource: the name has several
        """
        if is_id(name_or_id):
            try:
                return cls.existing(id=name_or_id, connection=session._get_connection(), **params).fetch(session)
            except exceptions.NotFoundException:
                pass  # somebody may have named a thing like an id
        candidates = cls.list(session, **params) if cls.NAMED else ()
        named = [each for each in candidates if each.name == name_or_id]
        if len(named) == 1:
            return named[0]
        if named:
            ids = ", ".join(each.id for each in named)
            raise exceptions.DuplicateResource(
                f"{len(named)} {words(cls)}s are named {name_or_id!r}: say which by id: {ids}"
            )
        if ignore_missing:
            return None
        raise exceptions.NotFoundException(
            f"There is no {words(cls)} with the {'name or ' if cls.NAMED else ''}id {name_or_id!r}."
        )

    def act(self, session: Any, action: str, arguments: Any = None) -> Any:
        """Asks for one action. :returns: the JSON of the answer, ``None`` where it has none"""
        path = f"{self.base_path % self._uri.attributes}/{self.id}/actions"
        response = session.post(path, json={action: arguments})
        exceptions.raise_from_response(response)
        return response.json() if response.content else None


def words(kind: type[resource.Resource]) -> str:
    """The words of a kind for people: "minion pool"."""
    return (kind.resource_key or kind.__name__).replace("_", " ")


def is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
