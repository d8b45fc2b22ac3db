# SPDX-License-Identifier: Apache-2.0
"""The service, with its methods in openstacksdk's manner."""

from __future__ import annotations

from openstack import resource

from coriolis.client.bandwidth_budget import BandwidthBudget
from coriolis.client.deployment import Deployment
from coriolis.client.endpoint import Endpoint
from coriolis.client.methods.administration import AdministrationMethods
from coriolis.client.methods.bandwidth_budgets import BandwidthBudgetMethods
from coriolis.client.methods.certificates import CertificateMethods
from coriolis.client.methods.endpoints import EndpointMethods
from coriolis.client.methods.events import EventMethods
from coriolis.client.methods.jobs import JobMethods
from coriolis.client.methods.transfers import TransferMethods
from coriolis.client.migration import Migration
from coriolis.client.minion_pool import MinionPool
from coriolis.client.region import Region
from coriolis.client.service import Service
from coriolis.client.transfer import Transfer, TransferExecution, TransferSchedule


class Proxy(
    JobMethods,
    EventMethods,
    TransferMethods,
    EndpointMethods,
    AdministrationMethods,
    BandwidthBudgetMethods,
    CertificateMethods,
):
    """``find_*`` take a name or an id; lists are generators that page by themselves."""

    _resource_registry: dict[str, type[resource.Resource]] = {
        "bandwidth_budget": BandwidthBudget,
        "deployment": Deployment,
        "endpoint": Endpoint,
        "migration": Migration,
        "minion_pool": MinionPool,
        "region": Region,
        "service": Service,
        "transfer": Transfer,
        "transfer_execution": TransferExecution,
        "transfer_schedule": TransferSchedule,
    }
