// Stripe.js of the emulator: to come.
