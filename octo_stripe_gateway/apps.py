from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OctoStripeGatewayConfig(AppConfig):
    name = "octo_stripe_gateway"
    verbose_name = _("Stripe payments")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from octo_stripe_gateway import checks  # noqa: F401
