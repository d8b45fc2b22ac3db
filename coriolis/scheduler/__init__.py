# SPDX-License-Identifier: Apache-2.0
"""Places tasks on workers. Many schedulers may run at once: a claim is one conditional UPDATE."""
