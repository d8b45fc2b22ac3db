# SPDX-License-Identifier: Apache-2.0
"""REST: one route table (``routes``), from which dispatch, policies and documents are made.

A noun has the same file name in ``v1``, ``schemas``, ``views`` and ``policies``. Start with ``routes`` and ``app``.
"""
