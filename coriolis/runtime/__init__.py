# SPDX-License-Identifier: Apache-2.0
"""The shell around a process: who calls (context, identity, policy), what is secret (secrets, local_token)."""
