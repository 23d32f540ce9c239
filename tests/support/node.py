"""Where the sources for Node are."""

from pathlib import Path

import octo_stripe_gateway

NODE = Path(__file__).parent.parent / "node"
DOCUMENT = Path(octo_stripe_gateway.__file__).parent / "openapi.json"
STATIC = Path(octo_stripe_gateway.__file__).parent / "static/octo_stripe_gateway"
