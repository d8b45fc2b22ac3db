# SPDX-License-Identifier: Apache-2.0
"""Handlers of the routes: parse, command or query, view. One module per noun."""
