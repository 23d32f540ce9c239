"""The smallest settings that the payment API needs, for a shop on one's own machine."""

import datetime as dt
import os

import dj_database_url

# On, the built-in test keys and the local Stripe emulator stand in for Stripe until keys are configured.
DEBUG = True
SECRET_KEY = "for-development-only"  # noqa: S105 - the demo listens on this machine only

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "octo_stripe_gateway",
    "tourshop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "tourshop.views.keep_policy",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        # What the admin needs.
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "tourshop.urls"
STATIC_URL = "static/"
# Browsers don't tell ports apart: a reader's own project on this machine has its own cookies.
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "tourshop_session", "tourshop_csrf"
# manage.py names a PostgreSQL; SQLite is for the tests, where there is one visitor at a time.
DATABASES = {"default": dj_database_url.config(default="sqlite://:memory:")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
# The page is in the browser's language where it is one of these.
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
USE_TZ = True
TIME_ZONE = "UTC"

# How long the places of a booking are held until it is paid.
HOLD = dt.timedelta(seconds=int(os.environ.get("DEMO_HOLD_SECONDS") or 900))

# Everything that the payment API is told. STRIPE_API_KEY, STRIPE_PUBLISHABLE_KEY and STRIPE_WEBHOOK_SECRET
# come from the environment; the well-known API key is only for the emulator's play money.
OCTO_STRIPE_GATEWAY = {
    "PAYABLES": {"booking": "tourshop.Booking", "cart": "tourshop.Cart"},
    "IDENTIFY_CALLER": "tourshop.auth.authenticate",
    "API_GATEWAY_KEY": os.environ.get("OSG_API_GATEWAY_KEY")
    or ("" if os.environ.get("STRIPE_API_KEY") else "demo-key"),
}
# IDENTIFY_CALLER decides alone: here it compares the API key itself.
SILENCED_SYSTEM_CHECKS = ["octo_stripe_gateway.W001"]
