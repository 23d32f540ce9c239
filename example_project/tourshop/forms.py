"""Validates what a visitor chooses."""

from __future__ import annotations

import datetime as dt

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _

from tourshop.models import Booking

LONGEST_AHEAD = dt.timedelta(days=365)


class BookingForm(forms.ModelForm):  # type: ignore[type-arg]
    """A tour, how many people, and when; the price is not theirs to choose."""

    class Meta:
        model = Booking
        fields = ["tour", "people", "date"]

    def clean_date(self) -> dt.date:
        """Reject a day that is past or too far off."""
        date: dt.date = self.cleaned_data["date"]
        if not timezone.localdate() <= date <= timezone.localdate() + LONGEST_AHEAD:
            raise forms.ValidationError(_("Choose a day from today up to a year ahead."))
        return date

    def book(self, visitor: str) -> Booking:
        """Save the booking at today's price."""
        booking: Booking = self.save(commit=False)
        booking.visitor = visitor
        booking.amount = booking.tour.price * booking.people
        booking.currency = booking.tour.currency
        booking.save()
        return booking
