"""The callback that litellm_proxy.yaml names."""

import os

from skroute.integrations.litellm import ProxyHandler

handler = ProxyHandler(
    os.environ.get("SKROUTE_ROUTER", "router.skroute"), min_quality="95%"
)
