"""What runs on a node: the application, and upkeep in a loop instead of by the clock."""

from __future__ import annotations

import logging
import os
import time

from django.core.wsgi import get_wsgi_application
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.cluster.settings")
application = get_wsgi_application()


def keep_up() -> None:
    """Run upkeep each second until the process is ended."""
    from octo_stripe_gateway.upkeep import run_upkeep

    while True:
        try:
            run_upkeep(limit=1000)
        except Exception:
            logging.getLogger(__name__).exception("The next run may succeed.")
        connections.close_all()
        time.sleep(1)


if __name__ == "__main__":
    keep_up()
