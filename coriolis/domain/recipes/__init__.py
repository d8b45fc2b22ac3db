# SPDX-License-Identifier: Apache-2.0
"""The recipes that we ship, one module per kind of execution."""
