# SPDX-License-Identifier: Apache-2.0
"""Rows as the wire shows them: pure functions. One module per noun."""
