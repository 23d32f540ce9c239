from django.urls import include, path

from tests.benchmarks.hand import views

urlpatterns = [
    path("bookings/", include("octo_stripe_gateway.urls")),
    path("hand/empty", views.empty),
    path("hand/webhooks", views.take_event),
    path("hand/orm-webhooks", views.take_event_by_orm),
    path("hand/payments", views.payments),
    path("hand/payments/<int:pk>", views.read),
    path("hand/payments/<int:pk>/complete", views.complete),
    path("hand/payments/<int:pk>/refund", views.refund),
]
