"""The demo's `manage.py`; `manage.py demo` starts everything."""

import os
import signal
import sys
from pathlib import Path

from django.core.management import execute_from_command_line
from tourshop.postgres import provide_database

DIRECTORY = Path(__file__).resolve().parent / ".demo"


def main() -> None:
    """Run a command on the database that DATABASE_URL names or, without one, on the demo's own."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tourshop.settings")
    # However a command ends, it must stop the database that it started. SIGINT is set too because a shell
    # makes its background jobs ignore it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    directory = Path(os.environ.setdefault("DEMO_DIRECTORY", str(DIRECTORY)))
    with provide_database(directory):
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
