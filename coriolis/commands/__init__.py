# SPDX-License-Identifier: Apache-2.0
"""Use cases: one function is one transaction. The API and the operator's tools call them; reads are in ``store``."""
