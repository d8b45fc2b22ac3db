# SPDX-License-Identifier: Apache-2.0
"""The rules of the service: states, recipes, planning, retry, placement.

Standard library only, no clock and no I/O: time and identifiers come in as arguments. Start with ``states``,
then ``recipes``, then ``plan``.
"""
