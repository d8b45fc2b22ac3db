# SPDX-License-Identifier: Apache-2.0
"""Runs the measurements of ``tests/perf`` and reports them. ``python -m bench --help``"""
