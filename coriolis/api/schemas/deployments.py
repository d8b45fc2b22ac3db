# SPDX-License-Identifier: Apache-2.0
"""Bodies about deployments. Unknown fields are ignored: consoles send some."""

from __future__ import annotations

from coriolis.api.schemas import answers, jobs, user_scripts
from coriolis.api.schemas.answers import Schema
from coriolis.api.schemas.minion_pools import USE
from coriolis.api.schemas.rehearsals import or_dry_run
from coriolis.api.schemas.tasks import TASK
from coriolis.api.schemas.transfers import EXECUTION, INFO, actions

_FLAG: Schema = {"type": ["boolean", "null"]}

CREATE: Schema = {
    "type": "object",
    "required": ["deployment"],
    "properties": {
        "deployment": {
            "type": "object",
            "required": ["transfer_id"],
            "properties": {
                "transfer_id": {"type": "string", "minLength": 1, "maxLength": 64},
                "clone_disks": _FLAG,
                "force": _FLAG,
                "skip_os_morphing": _FLAG,
                "user_scripts": user_scripts.SCHEMA,
                "instance_osmorphing_minion_pool_mappings": USE["instance_osmorphing_minion_pool_mappings"],
            },
        }
    },
}
ACTION = actions("cancel", "retry")

DEPLOYMENT = answers.record(
    {
        **jobs.FIELDS,
        **jobs.PROGRESS,
        "transfer_id": answers.ID_OR_NULL,
        "transfer_scenario_type": answers.TEXT_OR_NULL,
        "deployer_id": answers.ID_OR_NULL,
        "trust_id": answers.TEXT_OR_NULL,
        "shutdown_instances": answers.FLAG,
        "executions": answers.several(EXECUTION),
        "tasks": answers.several(TASK),
        "info": INFO,
    },
    optional=("executions", "tasks", "info"),
)
DEPLOYMENTS = answers.many("deployments", DEPLOYMENT)
ONE_DEPLOYMENT = answers.one("deployment", DEPLOYMENT)
MADE_OR_REHEARSED = or_dry_run("deployment", DEPLOYMENT)
