from django.contrib import admin
from django.urls import include, path

from octo_stripe_gateway.urls import get_urls
from tourshop import views

urlpatterns = [
    path("", views.page, name="page"),
    path("admin/", admin.site.urls),
    path("bookings", views.bookings, name="bookings"),
    path("bookings/<str:reference>/refund", views.refund_booking, name="refund"),
    # The payment API: /bookings/payments and /bookings/webhooks.
    path("bookings/", include((get_urls(viewset=views.BookingPaymentViewSet), "octo_stripe_gateway"))),
]
