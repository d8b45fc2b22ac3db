# SPDX-License-Identifier: Apache-2.0
"""A plugin that is unfit never takes the others with it, and never disappears silently."""

from __future__ import annotations

from coriolis.worker.forks import ForkServer

MARK = "mark-of-this-test"


def test_unfit_plugins_are_left_out_with_a_reason(plugin_path: None) -> None:
    server = ForkServer(["trial-broken", "trial-unfit", "trial", "trial-nobody"], MARK, lambda dead: None)
    try:
        assert set(server.providers) == {"trial"}
        assert set(server.errors) == {"trial-broken", "trial-unfit", "trial-nobody"}
        assert "library_that_is_not_there" in server.errors["trial-broken"]
        assert "starts a thread" in server.errors["trial-unfit"]
        assert server.providers["trial"]["capabilities"] == ["inventory", "volumes"]
    finally:
        server.stop()


def test_all_but_fakes_are_offered_when_none_are_named(plugin_path: None) -> None:
    server = ForkServer([], MARK, lambda dead: None)
    try:
        assert {"libvirt", "ova"} <= set(server.providers)
        assert not {"null", "null_definition", "fake", "trial", "trial-warm"} & {*server.providers, *server.errors}
        assert "trial-unfit" in server.errors
    finally:
        server.stop()
