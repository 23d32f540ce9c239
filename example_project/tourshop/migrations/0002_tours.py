from typing import Any

from django.db import migrations
from django.utils.translation import gettext_noop as _

TOURS = [
    (_("Old town on foot"), _("Two hours through the lanes, courtyards and market halls with a local guide."), 2450, "eur"),
    (_("Sunset sailing"), _("Three hours on a wooden sloop along the coast, with drinks on board."), 6900, "usd"),
    (_("Kyoto tea morning"), _("A tea garden at opening time and a lesson in whisking matcha."), 8200, "jpy"),
]


def add_tours(apps: Any, schema_editor: Any) -> None:
    tour = apps.get_model("tourshop", "Tour")
    tour.objects.bulk_create(
        tour(name=name, description=description, price=price, currency=currency)
        for name, description, price, currency in TOURS
    )


class Migration(migrations.Migration):
    dependencies = [("tourshop", "0001_initial")]
    operations = [migrations.RunPython(add_tours, migrations.RunPython.noop)]
