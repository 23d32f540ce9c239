"""Our host's settings with dj-stripe instead of our app, on a database of its own."""

from __future__ import annotations

from tests.benchmarks import settings as ours

DATABASE = "dj_stripe"
ENDPOINT = "0b5d1f8a-6c0e-4a55-9d0a-3f2d7f0c1e11"

ALLOWED_HOSTS = ours.ALLOWED_HOSTS
DATABASES = {"default": ours.DATABASES["default"] | {"NAME": DATABASE}}
DEFAULT_AUTO_FIELD = ours.DEFAULT_AUTO_FIELD
INSTALLED_APPS = [*(app for app in ours.INSTALLED_APPS if app.startswith("django.")), "djstripe"]
MIDDLEWARE = ours.MIDDLEWARE
ROOT_URLCONF = "tests.benchmarks.dj_stripe.urls"
SECRET_KEY = ours.SECRET_KEY
STATIC_URL = ours.STATIC_URL
USE_TZ = ours.USE_TZ

DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
STRIPE_API_HOST = ours.UPSTREAM
STRIPE_LIVE_MODE = False
# dj-stripe refuses keys not shaped like Stripe's.
STRIPE_TEST_SECRET_KEY = "sk_test_" + "0" * 24
WEBHOOK_SECRET = ours.WEBHOOK_SECRET
EVENTS_PATH = f"/stripe/webhook/{ENDPOINT}/"
