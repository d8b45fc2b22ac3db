# SPDX-License-Identifier: Apache-2.0
"""The ways in which bytes of volumes leave and enter a cloud.

=========== ==================================================================================================
``direct``  the worker attaches the volume to itself (Cinder's attachments) and opens what the connection info
            names: a file on NFS, or an RBD image; the operator of the workers has to allow it
``minion``  a small server of ours has the volume attached and serves it over NBD through SSH
``image``   through Glance: an upload of the volume or server is read, or an image is imported into a volume
=========== ==================================================================================================
"""

from __future__ import annotations
