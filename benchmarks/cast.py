"""Who acts in the benchmarks, and at which provider."""

from __future__ import annotations

from grantledger.domain.provider import ProviderRules
from grantledger.domain.values import Actor, ActorKind

RULES = ProviderRules("bench", "https://as.invalid", "client")
SCOPES = ("files.read", "openid")
AGENT = Actor(
    "agent-7",
    ActorKind.AGENT,
    ("agent-8",),
    peer_ip="198.51.100.4",
    user_agent="curl/8.5",
)
