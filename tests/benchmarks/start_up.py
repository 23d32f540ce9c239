"""Measures what the app adds to a process's start, each time in a fresh one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from typing import NamedTuple

from tests.benchmarks.report import Check
from tests.benchmarks.settings import INSTALLED_APPS

TIMES = 7
# The most milliseconds that the app may add to Django with REST framework.
MOST_ADDED = 60
APP, DRF = "octo_stripe_gateway", "rest_framework"
WITHOUT = [app for app in INSTALLED_APPS if app.startswith("django.")]
PROGRAM = """
import importlib, json, sys, time
apps, modules = json.loads(sys.argv[1])
started = time.process_time()
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=apps, SECRET_KEY="-", STATIC_URL="static/", USE_TZ=True)
django.setup()
if modules:
    before, started = len(sys.modules), time.process_time()
    for module in modules:
        importlib.import_module(module)
else:
    before = 0
milliseconds = (time.process_time() - started) * 1000
print(json.dumps([milliseconds, len(sys.modules) - before, sorted(sys.modules)]))
"""


class StartUp(NamedTuple):
    """The least processor time, how many modules were imported in it, and all that are loaded afterwards."""

    milliseconds: float
    imported: int
    modules: list[str]


def check_start_up() -> list[Check]:
    """Measure `django.setup()` with and without the app, and the largest packages that the app needs."""
    plain, app = start([*WITHOUT, DRF]), start([*WITHOUT, DRF, APP])
    added = app.milliseconds - plain.milliseconds
    large = [name for name in ("requests", "rest_framework", "stripe") if name in app.modules]
    remark = f", {' and '.join(large)} among them" if large else ""
    sdk = ["requests", "stripe"]
    return [
        _describe("django.setup() with REST framework", start_up=plain),
        _describe("django.setup() with the app as well", start_up=app, remark=remark),
        Check("added by the app", f"{added:.0f} ms", f"≤ {MOST_ADDED}", added <= MOST_ADDED),
        _describe("without it, then requests", start_up=start(WITHOUT, modules=sdk[:1])),
        _describe("without it, then requests and stripe", start_up=start(WITHOUT, modules=sdk)),
        _describe("with it, then its URLs", start_up=start([*WITHOUT, APP], modules=[f"{APP}.urls"])),
    ]


def start(apps: list[str], *, modules: list[str] | None = None) -> StartUp:
    """Measure Django's set-up in fresh processes, or the import of these modules after it."""
    command = [sys.executable, "-c", PROGRAM, json.dumps([apps, modules or []])]
    with tempfile.TemporaryDirectory() as folder:
        # Compiled once, as an installer does it, wherever the environment keeps its bytecode or keeps none.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        run = partial(subprocess.run, command, capture_output=True, check=True, env=environment)
        run()
        answers = [json.loads(run().stdout) for _time in range(TIMES)]
    milliseconds = min(answer[0] for answer in answers)
    return StartUp(milliseconds, answers[0][1], answers[0][2])


def _describe(subject: str, *, start_up: StartUp, remark: str = "") -> Check:
    return Check(subject, f"{start_up.milliseconds:.0f} ms, {start_up.imported:,} modules{remark}")
