"""The settings that `octo_stripe_gateway/openapi.json` is made with."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as APPS

INSTALLED_APPS = [*APPS, "drf_spectacular"]
SPECTACULAR_SETTINGS = {
    "TITLE": "OctoStripeGateway",
    "DESCRIPTION": (
        "A Stripe payment API for single-page apps, following OCTO conventions. Paths are relative to where"
        " the host has mounted it. The address for Stripe's webhooks is not here: only Stripe calls it."
    ),
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.1",
    "PREPROCESSING_HOOKS": ["octo_stripe_gateway.api.schema.drop_trailing_slashes"],
    "LICENSE": {"name": "MIT", "identifier": "MIT"},
    "CONTACT": {"name": "The OctoStripeGateway developers"},
    "SERVERS": [{"url": "/bookings", "description": "Where the host has mounted it."}],
    "TAGS": [
        {"name": "payments", "description": "One payment is one of Stripe's PaymentIntents."},
        {"name": "capabilities", "description": "OCTO's optional features."},
    ],
}
