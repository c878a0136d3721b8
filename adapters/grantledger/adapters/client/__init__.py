"""For services that call a broker: its tokens, and requests that carry them.

    from grantledger.client import BrokerAuth, BrokerClient, GrantAuth

    broker = BrokerClient("https://broker.example", BrokerAuth(bearer=jwt))
    grant = GrantAuth(broker, "nextcloud", "alice")
    async with httpx.AsyncClient(auth=grant) as http:
        await http.get("https://cloud.example.com/ocs/v2.php/cloud/user?format=json")

Needs httpx and nothing else of this project. A token is asked for when the first
request needs one, and kept until it would live for less than `min_ttl_seconds`. Where
a server answers 401, another is asked for, once. Requests to the broker follow no
redirect: what proves the caller goes to the configured address and nowhere else.
"""
