from django.contrib import admin
from django.urls import include, path

from octo_stripe_gateway.urls import get_urls
from tourshop import octo, views

urlpatterns = [
    path("", views.page, name="page"),
    path("admin/", admin.site.urls),
    path("bookings", views.bookings, name="bookings"),
    path("bookings/<str:reference>/refund", views.refund_booking, name="refund"),
    path("bookings/<str:reference>/link", views.share_booking, name="share"),
    # For resellers who speak OCTO.
    path("octo/bookings", octo.BookingsView.as_view()),
    path("octo/bookings/<str:reference>", octo.BookingView.as_view()),
    path("octo/bookings/<str:reference>/confirm", octo.ConfirmBookingView.as_view()),
    path("octo/orders", octo.carts),
    path("octo/orders/<int:pk>/confirm", octo.confirm_cart),
    # The payment API: /bookings/payments and /bookings/webhooks.
    path("bookings/", include((get_urls(viewset=views.BookingPaymentViewSet), "octo_stripe_gateway"))),
]
