import logging

from django.apps import AppConfig


class TourShopConfig(AppConfig):
    name = "tourshop"

    def ready(self) -> None:
        """Connect the receivers that keep bookings in step with their payments."""
        from tourshop import logs, receivers  # noqa: F401 - importing connects the receivers

        logging.getLogger("django.server").addFilter(logs.hide_query)
