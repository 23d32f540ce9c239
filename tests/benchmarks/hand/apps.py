from django.apps import AppConfig


class HandConfig(AppConfig):
    name = "tests.benchmarks.hand"
    label = "hand"
    default_auto_field = "django.db.models.BigAutoField"
