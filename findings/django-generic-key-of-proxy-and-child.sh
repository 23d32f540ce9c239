#!/usr/bin/env bash
# Django 5.2.19: a generic key files a proxy's rows under the parent, and a multi-table child's rows under the child.
#
# The child's row is the parent's row too: they share a primary key. So what is attached to the one isn't found from
# the other, and a "once per object" constraint over type and key lets the same row have two. `for_concrete_model`
# decides about proxies only.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'django==5.2.19'
seen=$(venv/bin/python - <<'PY'
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection, models

class Note(models.Model):
    kind = models.ForeignKey(ContentType, models.CASCADE)
    key = models.BigIntegerField()
    about = GenericForeignKey("kind", "key")
    class Meta:
        app_label = "shop"

class Trip(models.Model):
    notes = GenericRelation(Note, "key", "kind")
    class Meta:
        app_label = "shop"

class CheapTrip(Trip):
    class Meta:
        app_label, proxy = "shop", True

class NightTrip(Trip):
    class Meta:
        app_label = "shop"

call_command("migrate", verbosity=0)
with connection.schema_editor() as editor:
    for model in (Note, Trip, NightTrip):
        editor.create_model(model)
for model in (CheapTrip, NightTrip):
    row = model.objects.create()
    Note.objects.create(about=row)
    print(model.__name__, "is filed as", Note.objects.last().kind.model, "and", Trip.objects.get(pk=row.pk).notes.count(), "found from Trip")
PY
)
expected=$(cat <<'SEEN'
CheapTrip is filed as trip and 1 found from Trip
NightTrip is filed as nighttrip and 0 found from Trip
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
