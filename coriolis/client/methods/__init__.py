# SPDX-License-Identifier: Apache-2.0
"""The methods of the proxy, a module per group of nouns."""
