# SPDX-License-Identifier: Apache-2.0
"""The recipes: one module per kind of job, and the steps that they share."""
