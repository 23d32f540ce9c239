from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class OctoStripeGatewayConfig(AppConfig):
    name = "octo_stripe_gateway"
    verbose_name = _("Stripe payments")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, and the API's description where something can use it."""
        from octo_stripe_gateway import checks  # noqa: F401

        if apps.is_installed("drf_spectacular"):
            from octo_stripe_gateway import schema  # noqa: F401
