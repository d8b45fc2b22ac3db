# SPDX-License-Identifier: Apache-2.0
"""The ``coriolis`` command line: one module per noun."""
