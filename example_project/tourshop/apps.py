import logging

from django.apps import AppConfig


class TourShopConfig(AppConfig):
    name = "tourshop"

    def ready(self) -> None:
        """Connect what happens to payments with the bookings they are for."""
        from tourshop import logs, receivers  # noqa: F401 - importing connects the receivers

        logging.getLogger("django.server").addFilter(logs.hide_query)
