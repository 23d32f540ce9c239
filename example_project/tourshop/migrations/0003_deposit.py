from typing import Any

from django.db import migrations, models
from django.utils.translation import gettext_noop as _


def add_tour(apps: Any, schema_editor: Any) -> None:
    apps.get_model("tourshop", "Tour").objects.create(
        name=_("Fjords by ship"),
        description=_(
            "Four days along the fjords. A fifth is paid now, and the rest a month ahead: at once for a trip that is sooner."
        ),
        price=64000,
        currency="eur",
        deposit=20,
    )


class Migration(migrations.Migration):
    dependencies = [("tourshop", "0002_tours")]
    operations = [
        migrations.AddField("tour", "deposit", models.PositiveSmallIntegerField(default=0)),
        migrations.RunPython(add_tour, migrations.RunPython.noop),
    ]
