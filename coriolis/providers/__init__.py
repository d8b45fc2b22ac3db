# SPDX-License-Identifier: Apache-2.0
"""Provider plugins. A plugin imports ``coriolis.providers.api`` and ``coriolis.dataplane``, nothing else of ours."""
