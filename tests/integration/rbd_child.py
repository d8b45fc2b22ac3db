# SPDX-License-Identifier: Apache-2.0
"""Changes an RBD image through librbd itself, and nothing of ours: run by Debian's Python, which has its modules.

Arguments: ceph.conf, user, pool, image, steps as JSON. With the step ``["hold"]`` it keeps the image open until its
standard input ends, and then goes on.
"""

from __future__ import annotations

import json
import random
import sys

import rados
import rbd


def main(conf, user, pool, name, steps):
    cluster = rados.Rados(conffile=conf, rados_id=user)
    cluster.connect()
    pool = cluster.open_ioctx(pool)
    rest = []
    for at, step in enumerate(steps):
        if step[0] == "clone":  # of a snapshot of another image
            rbd.RBD().clone(pool, step[1], step[2], pool, name, features=61)
            continue
        rest = steps[at:]
        break
    with rbd.Image(pool, name) as image:
        for word, *values in rest:
            _STEPS[word](image, *values)
        image.flush()
    pool.close()
    cluster.shutdown()


def _write(image, offset, length, seed):
    image.write(random.Random(seed).randbytes(length), offset)


def _zero(image, offset, length):
    image.write(bytes(length), offset)


def _snapshot(image, name):
    image.create_snap(name)
    if not image.is_protected_snap(name):
        image.protect_snap(name)


def _hold(image):
    print("held", flush=True)
    sys.stdin.read()


_STEPS = {
    "write": _write,
    "zero": _zero,
    "discard": lambda image, offset, length: image.discard(offset, length),
    "snap": _snapshot,
    "resize": lambda image, size: image.resize(size),
    "flatten": lambda image: image.flatten(),
    "rollback": lambda image, name: image.rollback_to_snap(name),
    "sparsify": lambda image: image.sparsify(4096),
    "hold": _hold,
}

if __name__ == "__main__":
    _conf, _user, _pool, _name, _work = sys.argv[1:]
    main(_conf, _user, _pool, _name, json.loads(_work))
