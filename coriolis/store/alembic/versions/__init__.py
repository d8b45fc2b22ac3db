# SPDX-License-Identifier: Apache-2.0
"""One module per change of the schema, oldest first. Additions only, until no older release runs beside a newer."""
