# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of request bodies, as data. One module per noun."""
