# SPDX-License-Identifier: Apache-2.0
"""Messages between the services. The only package that imports oslo.messaging.

A message is a hint or a fenced request: the rows in the database are the truth, and the loss of any message costs
latency only. Start with ``messages``.
"""

from coriolis.rpc import no_eventlet as no_eventlet
