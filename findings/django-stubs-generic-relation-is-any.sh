#!/usr/bin/env bash
# django-stubs 6.1.2: what a GenericRelation gives is Any, so that mypy, strict too, checks nothing behind it.
#
# The manager of a reverse foreign key is typed, and a misspelled method of it is an error. The same behind a generic
# relation passes in silence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'django-stubs==6.1.2' 'mypy==2.4.1' 'django==5.2.19'
mkdir shop && touch shop/__init__.py
cat > settings.py <<'PY'
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "shop"]
PY
cat > shop/models.py <<'PY'
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Trip(models.Model):
    notes = GenericRelation("shop.Note", "key", "kind")


class Note(models.Model):
    kind = models.ForeignKey(ContentType, models.CASCADE)
    key = models.BigIntegerField()
    about = GenericForeignKey("kind", "key")


class Guest(models.Model):
    trip = models.ForeignKey(Trip, models.CASCADE, related_name="guests")


def misspell(trip: Trip) -> None:
    trip.guests.fliter()
    trip.notes.fliter()
    reveal_type(trip.notes)
PY
cat > mypy.ini <<'INI'
[mypy]
strict = true
plugins = mypy_django_plugin.main
[mypy.plugins.django-stubs]
django_settings_module = "settings"
INI
seen=$(venv/bin/mypy shop/models.py | grep -o 'has no attribute.*\|Revealed type.*' || true)
expected=$(cat <<'SEEN'
has no attribute "fliter"  [attr-defined]
Revealed type is "Any"
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
