# SPDX-License-Identifier: Apache-2.0
"""The integrity certificate of an execution: what was copied, with the digest of every disk, signed.

`document` builds it, `signature` signs and checks it, `check` compares disks with it, `command` does so at a command
line. Checking needs no service: only the file, and what it speaks of.
"""
