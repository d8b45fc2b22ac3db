# SPDX-License-Identifier: Apache-2.0
"""Transfers, their executions and their schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from openstack import exceptions
from openstack import proxy as sdk_proxy

from coriolis.client.job import id_of
from coriolis.client.methods.waiting import until_final
from coriolis.client.transfer import Transfer, TransferExecution, TransferSchedule


class TransferMethods(sdk_proxy.Proxy):
    """Lists are newest first unless ``sort_key`` and ``sort_dir`` say otherwise. Waiting: see ``until_final``."""

    def transfers(self, **query: Any) -> Iterator[Transfer]:
        return self._list(Transfer, **query)

    def get_transfer(self, transfer: str | Transfer, *, include_task_info: bool = False) -> Transfer:
        """``include_task_info`` adds ``info``: what the source told about each instance."""
        query: dict[str, Any] = {"include_task_info": True} if include_task_info else {}
        return self._get_resource(Transfer, transfer).fetch(self, **query)

    def find_transfer(self, transfer_id: str, ignore_missing: bool = False) -> Transfer | None:
        """Transfers have no names: by id."""
        return self._find(Transfer, transfer_id, ignore_missing=ignore_missing)

    def create_transfer(self, **attributes: Any) -> Transfer:
        return self._create(Transfer, **attributes)

    def update_transfer(self, transfer: str | Transfer, **attributes: Any) -> TransferExecution:
        """:returns: the execution that makes the change; the transfer has the new values when it is over"""
        return self._get_resource(Transfer, transfer).change(self, **attributes)

    def delete_transfer(
        self, transfer: str | Transfer, ignore_missing: bool = True, *, delete_disks: bool = False
    ) -> None:
        """``delete_disks``: the replicas on the destination are removed in the background."""
        path = f"/transfers/{id_of(transfer)}"
        response = self.delete(path, params={"delete_disks": True} if delete_disks else {})
        if not (ignore_missing and response.status_code == HTTPStatus.NOT_FOUND):
            exceptions.raise_from_response(response)

    def delete_transfer_disks(self, transfer: str | Transfer) -> TransferExecution:
        """Removes the replicas from the destination. :returns: the execution that does it"""
        return self._get_resource(Transfer, transfer).delete_disks(self)

    def transfer_executions(self, transfer: str | Transfer, **query: Any) -> Iterator[TransferExecution]:
        return self._list(TransferExecution, transfer_id=id_of(transfer), **query)

    def get_transfer_execution(self, transfer: str | Transfer, execution: str | TransferExecution) -> TransferExecution:
        return self._get(TransferExecution, id_of(execution), transfer_id=id_of(transfer))

    def create_transfer_execution(
        self, transfer: str | Transfer, *, shutdown_instances: bool = False, auto_deploy: bool = False
    ) -> TransferExecution:
        """Copies what changed since the last one; everything the first time."""
        return self._create(
            TransferExecution,
            transfer_id=id_of(transfer),
            shutdown_instances=shutdown_instances,
            auto_deploy=auto_deploy,
        )

    def cancel_transfer_execution(
        self, transfer: str | Transfer, execution: str | TransferExecution, *, force: bool = False
    ) -> None:
        existing = TransferExecution.existing(id=id_of(execution), transfer_id=id_of(transfer))
        existing.cancel(self, force=force)

    def retry_transfer_execution(
        self, transfer: str | Transfer, execution: str | TransferExecution
    ) -> TransferExecution:
        """:returns: a new execution, of the instances that failed in this one"""
        return TransferExecution.existing(id=id_of(execution), transfer_id=id_of(transfer)).retry(self)

    def delete_transfer_execution(
        self, transfer: str | Transfer, execution: str | TransferExecution, ignore_missing: bool = True
    ) -> None:
        self._delete(TransferExecution, id_of(execution), ignore_missing=ignore_missing, transfer_id=id_of(transfer))

    def wait_for_transfer_execution(
        self,
        transfer: str | Transfer,
        execution: str | TransferExecution,
        *,
        interval: float = 1.0,
        timeout: float | None = None,
        seen: Callable[[TransferExecution], None] | None = None,
    ) -> TransferExecution:
        return until_final(
            lambda: self.get_transfer_execution(transfer, execution), interval=interval, timeout=timeout, seen=seen
        )

    def transfer_schedules(self, transfer: str | Transfer, **query: Any) -> Iterator[TransferSchedule]:
        """``show_expired=False`` leaves out those whose time is over."""
        return self._list(TransferSchedule, transfer_id=id_of(transfer), **query)

    def get_transfer_schedule(self, transfer: str | Transfer, schedule: str | TransferSchedule) -> TransferSchedule:
        return self._get(TransferSchedule, id_of(schedule), transfer_id=id_of(transfer))

    def create_transfer_schedule(self, transfer: str | Transfer, **attributes: Any) -> TransferSchedule:
        """At least ``schedule``: minute, hour, dom, month, dow (0 is Monday), in UTC; absent matches always."""
        return self._create(TransferSchedule, transfer_id=id_of(transfer), **attributes)

    def update_transfer_schedule(
        self, transfer: str | Transfer, schedule: str | TransferSchedule, /, **attributes: Any
    ) -> TransferSchedule:
        """``schedule`` among the attributes is its new time, which replaces the old one whole."""
        return self._update(TransferSchedule, id_of(schedule), transfer_id=id_of(transfer), **attributes)

    def delete_transfer_schedule(
        self, transfer: str | Transfer, schedule: str | TransferSchedule, ignore_missing: bool = True
    ) -> None:
        self._delete(TransferSchedule, id_of(schedule), ignore_missing=ignore_missing, transfer_id=id_of(transfer))
