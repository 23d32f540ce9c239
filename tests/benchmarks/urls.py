from importlib import import_module
from typing import Any

from django.conf import settings
from django.urls import include, path

from tests.benchmarks.hand import views

urlpatterns: list[Any] = [
    path("hand/empty", views.empty),
    path("hand/webhooks", views.take_event),
    path("hand/orm-webhooks", views.take_event_by_orm),
    path("hand/payments", views.payments),
    path("hand/payments/<int:pk>", views.read),
    path("hand/payments/<int:pk>/complete", views.complete),
    path("hand/payments/<int:pk>/refund", views.refund),
]
if "octo_stripe_gateway" in settings.INSTALLED_APPS:
    urlpatterns += [path("bookings/", include("octo_stripe_gateway.urls"))]
else:
    # A host without the app has the libraries loaded all the same.
    import_module("rest_framework.viewsets")
