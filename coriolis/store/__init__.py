# SPDX-License-Identifier: Apache-2.0
"""The only place with SQL. Start with ``tables``, then ``engine``; then one module of named queries per table group.

A query is a function that takes a connection. It never commits: whoever opened the transaction does
(``commands``, ``conductor``, ``scheduler``).
"""
