pytest_plugins = ["octo_stripe_gateway.testing.pytest_plugin"]
