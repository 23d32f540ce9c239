"""A Stripe payment API for Django single-page apps, following OCTO conventions."""
