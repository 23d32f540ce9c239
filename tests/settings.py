"""A host project for the tests, as small as one can be."""

import dj_database_url

SECRET_KEY = "for-tests-only"
DATABASES = {"default": dj_database_url.config(default="sqlite://:memory:")}
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_tasks_db",
    "octo_stripe_gateway",
    "tests.shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
STATIC_URL = "static/"
ROOT_URLCONF = "tests.support.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

OCTO_STRIPE_GATEWAY = {
    "STRIPE_API_KEY": "sk_test_gateway",
    "STRIPE_PUBLISHABLE_KEY": "pk_test_gateway",
    "STRIPE_WEBHOOK_SECRET": "whsec_gateway",
    "STRIPE_API_BASE": "http://127.0.0.1:9",
    "STRIPE_MAX_NETWORK_RETRIES": 0,
    "API_GATEWAY_KEY": "gateway-key",
    "THROTTLE_RATES": {},
    "PAYABLES": {"booking": "shop.Booking", "ticket": "shop.Ticket", "voucher": "shop.Voucher"},
}
