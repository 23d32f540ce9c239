"""What a host's own tests and laptop need: the Stripe emulator, factories, signed events."""
