# SPDX-License-Identifier: Apache-2.0
"""Records to JSON data and back."""

from coriolis.domain.codec import from_json, to_json

__all__ = ["from_json", "to_json"]
