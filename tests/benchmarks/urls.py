from django.urls import include, path

from tests.benchmarks import floor

urlpatterns = [
    path("bookings/", include("octo_stripe_gateway.urls")),
    path("floor/empty", floor.empty),
    path("floor/webhooks", floor.take_event),
    path("floor/safe-webhooks", floor.take_event_safely),
    path("floor/payments", floor.create),
    path("floor/safe-payments", floor.create_safely),
    path("floor/payments/<int:pk>", floor.read),
    path("floor/payments/<int:pk>/complete", floor.complete),
    path("floor/payments/<int:pk>/refund", floor.refund),
    path("floor/safe-payments/<int:pk>/complete", floor.complete_safely),
    path("floor/safe-payments/<int:pk>/refund", floor.refund_safely),
]
