from typing import Any

from django.apps import AppConfig, apps
from django.db import connections
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class OctoStripeGatewayConfig(AppConfig):
    name = "octo_stripe_gateway"
    verbose_name = _("Stripe payments")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, and the API's description where something can use it."""
        from octo_stripe_gateway.doctor import checks  # noqa: F401

        post_migrate.connect(make_installation, sender=self)
        if apps.is_installed("drf_spectacular"):
            from octo_stripe_gateway.api import schema  # noqa: F401


def make_installation(*, using: str, **_signal: Any) -> None:
    """Give the database that is written to its installation, once its tables are there."""
    from octo_stripe_gateway.models import Installation

    tables = connections[using].introspection.table_names
    if using == Installation.ledger.database and Installation._meta.db_table in tables():
        Installation.ledger.get_own()
