#!/usr/bin/env bash
# Django 5.2.19: the text of a composite primary key doesn't lead back to its row.
#
# `str(row.pk)` is what code keeps that files rows of any model by their key: generic keys in a CharField, caches,
# audit logs. For every other key `filter(pk=str(row.pk))` finds the row. For a composite one it raises a
# ValueError, and there is no public way to read the text back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'django==5.2.19'
seen=$(venv/bin/python - <<'PY'
import uuid
import django
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
from django.db import connection, models

class Ticket(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    class Meta:
        app_label = "shop"

class Seat(models.Model):
    pk = models.CompositePrimaryKey("ship", "number")
    ship = models.IntegerField()
    number = models.IntegerField()
    class Meta:
        app_label = "shop"

with connection.schema_editor() as editor:
    for model in (Ticket, Seat):
        editor.create_model(model)
for row in (Ticket.objects.create(), Seat.objects.create(ship=1, number=2)):
    text = str(row.pk)
    try:
        print(type(row).__name__, type(row).objects.filter(pk=text).count())
    except (TypeError, ValueError) as error:
        print(type(row).__name__, text, type(error).__name__)
PY
)
expected=$(cat <<'SEEN'
Ticket 1
Seat (1, 2) ValueError
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
