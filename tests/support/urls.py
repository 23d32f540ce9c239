from django.urls import include, path

urlpatterns = [
    path("bookings/", include("octo_stripe_gateway.urls")),
    path("other/prefix/", include("octo_stripe_gateway.urls", namespace="other")),
]
