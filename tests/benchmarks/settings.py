"""A host as `startproject` makes one, with persistent connections to PostgreSQL."""

from __future__ import annotations

import os
import sys
from typing import Any

import dj_database_url
import stripe

if os.environ.get("BENCHMARK_APP"):
    # Another checkout's app.
    sys.path.insert(0, os.environ["BENCHMARK_APP"])
SECRET_KEY = "for-benchmarks-only"
ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES: dict[str, Any] = {"default": dict(dj_database_url.config(conn_max_age=None))}
if os.environ.get("BENCHMARK_POOL"):
    # Under ASGI each request runs in its own thread, so only a pool can keep connections open.
    pool = {"pool": {"min_size": 2, "max_size": 20}}
    options = DATABASES["default"].get("OPTIONS", {}) | pool
    DATABASES["default"] |= {"CONN_MAX_AGE": 0, "OPTIONS": options}
if os.environ.get("BENCHMARK_DATABASE"):
    DATABASES["default"]["NAME"] = os.environ["BENCHMARK_DATABASE"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "octo_stripe_gateway",
    "tests.benchmarks.hand.apps.HandConfig",
]
if os.environ.get("BENCHMARK_WITHOUT"):
    INSTALLED_APPS[INSTALLED_APPS.index("octo_stripe_gateway")] = "rest_framework"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
if os.environ.get("BENCHMARK_BARE"):
    MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
TEMPLATES: list[dict[str, Any]] = []
STATIC_URL = "static/"
ROOT_URLCONF = "tests.benchmarks.urls"
WSGI_APPLICATION = "tests.benchmarks.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

WEBHOOK_SECRET = "whsec_benchmark"
# The integrator's key, which no rate limits, and a named one, whose holder has payments of its own.
API_KEY = "benchmark-key"
NAMED_KEY = "benchmark-key-of-viator"
API_KEY_AT_STRIPE = "sk_test_benchmark"
EVENTS_PATH = "/bookings/webhooks"
UPSTREAM = os.environ.get("BENCHMARK_UPSTREAM", "https://127.0.0.1:9")
READ_TIMEOUT = os.environ.get("BENCHMARK_READ_TIMEOUT")
if READ_TIMEOUT:
    # Every request fails then, and each would log it.
    LOGGING = {"version": 1, "loggers": {"octo_stripe_gateway": {"level": "ERROR"}}}
OCTO_STRIPE_GATEWAY = {
    "STRIPE_API_KEY": API_KEY_AT_STRIPE,
    "STRIPE_PUBLISHABLE_KEY": "pk_test_benchmark",
    "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
    "STRIPE_API_BASE": UPSTREAM,
    "STRIPE_TIMEOUT": (3, int(READ_TIMEOUT or 30)),
    "API_GATEWAY_KEY": {"": API_KEY, "viator": NAMED_KEY},
    # Rates are counted for the named key, and wrong keys by address; none is reached.
    "THROTTLE_RATES": dict.fromkeys(
        ("create", "list", "complete", "refund", "authentication"), "100000/second"
    ),
}
# The run made its own authority for the upstream's certificate.
stripe.ca_bundle_path = os.environ.get("BENCHMARK_CA", stripe.ca_bundle_path)
