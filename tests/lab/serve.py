# SPDX-License-Identifier: Apache-2.0
"""Run one OpenStack program in this process; the interpreter is the one of its release.

::

    serve.py main NAME MODULE:FUNCTION [ARG...]      a console script
    serve.py wsgi PORT MODULE:NAME[()] [ARG...]      a WSGI application, under gunicorn on 127.0.0.1
    serve.py wsgi PORT paste:FILE                    the main application of a paste file

The words after the target become ``sys.argv``; ``NAME()`` is called to get the application. Each request to a WSGI
application is noted in ``requests-PORT`` below the folder that ``LAB_LOG`` names: see `watch`.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_PLUGINS = os.path.join(_HERE, "plugins")


def attribute(target: str, label: str, words: list[str]) -> Any:
    """What ``MODULE:NAME`` names, imported with the command line that it expects."""
    module, _, name = target.partition(":")
    sys.argv = [label, *words]
    return getattr(importlib.import_module(module), name.replace("()", ""))


def application(target: str, words: list[str]) -> Any:
    module, _, name = target.partition(":")
    if module == "paste":
        from paste.deploy import loadapp

        return loadapp(f"config:{name}")
    found = attribute(target, module, words)
    return found() if name.endswith("()") else found


def serve(port: str, target: str, words: list[str]) -> None:
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):
        def load_config(self) -> None:
            # Keep-alive is off: clients that keep a connection for longer than the server met resets.
            options = {
                "bind": f"127.0.0.1:{port}",
                "workers": 1,
                "threads": 8,
                "timeout": 600,
                "worker_class": "gthread",
                "keepalive": 0,
                "limit_request_line": 8190,  # Nova asks Neutron for the ports of 150 servers at once
                "loglevel": "warning",
                "accesslog": os.path.join(os.environ["LAB_LOG"], f"requests-{port}"),
                # status, "METHOD URL PROTOCOL" as it came (applications rewrite the path), user agent
                "access_log_format": "%(s)s\t%(r)s\t%(a)s",
            }
            for key, value in options.items():
                self.cfg.set(key, value)

        def load(self) -> Any:
            return application(target, words)

    Server().run()


def main() -> None:
    # Its modules would be taken for others of their names: Nova's fake driver imports fixtures, too.
    sys.path[:] = [path for path in sys.path if path != _HERE]
    mode, label, target, *words = sys.argv[1:]
    if mode == "wsgi":
        serve(label, target, words)
        return
    if label == "nova-compute":  # it looks for its driver only below nova.virt
        virt: Any = importlib.import_module("nova.virt")
        virt.__path__.append(_PLUGINS)
    sys.exit(attribute(target, label, words)())


if __name__ == "__main__":
    main()
