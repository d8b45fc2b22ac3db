# SPDX-License-Identifier: Apache-2.0
"""Runs attempts: one child process each, forked from a warm server, killed without a trace when need be.

The worker talks to the conductor over ``rpc`` only and never touches the store: it runs third-party code with cloud
credentials, often in another site. Start with ``agent``; then ``attempt`` (the parent's side of one attempt) and
``host`` (the child's).
"""

from coriolis.rpc import no_eventlet as no_eventlet  # TaskFlow too imports eventlet when it can
