"""The Celery application of a host whose queue is Celery's."""

from celery import Celery  # type: ignore[import-not-found, import-untyped, unused-ignore]

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery looks for tasks in each app's `tasks` module only.
app.conf.imports = ["octo_stripe_gateway.webhooks.tasks"]
