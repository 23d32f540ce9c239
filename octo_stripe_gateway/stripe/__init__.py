"""Stripe out: what the app says to Stripe and reads of it. Knows no model."""
