"""A host in processes of its own, as a server with several workers would run it.

Run as a program it serves one process: its arguments are the settings' module and changes to them as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.support.processes import ROOT


@contextmanager
def running(
    *, settings: str = "tests.settings", changes: Mapping[str, Any], processes: int = 1
) -> Iterator[list[str]]:
    """Serve a host, each process with a thread for each request; the addresses of the processes."""
    command = [sys.executable, "-m", "tests.support.host", settings, json.dumps(changes)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    servers = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _each in range(processes)
    ]
    try:
        yield [f"http://127.0.0.1:{(each.stdout or sys.stdin).readline().strip()}" for each in servers]
    finally:
        for each in servers:
            each.kill()
            each.communicate()


def serve(module: str, changes: Mapping[str, Any]) -> None:
    """Serve the host, and print the port."""
    import logging

    import django
    from django.conf import settings
    from werkzeug.serving import make_server

    os.environ["DJANGO_SETTINGS_MODULE"] = module
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    for name, value in changes.items():
        old = getattr(settings, name, None)
        setattr(settings, name, old | value if isinstance(old, dict) and name != "CACHES" else value)
    django.setup()
    from django.core.wsgi import get_wsgi_application

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", 0, get_wsgi_application(), threaded=True)
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
