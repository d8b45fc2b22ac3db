# SPDX-License-Identifier: Apache-2.0
"""Plans, and takes in what workers report. Many conductors may run at once: each transaction first holds the rows
of the instances that it decides on. Start with ``plans``; ``service`` puts the loops together."""
