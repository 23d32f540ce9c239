"""Where the sources are that the tests hand to Node."""

from pathlib import Path

import octo_stripe_gateway

NODE = Path(__file__).parent.parent / "node"
DOCUMENT = Path(octo_stripe_gateway.__file__).parent / "openapi.json"
STATIC = Path(octo_stripe_gateway.__file__).parent / "static/octo_stripe_gateway"
