"""What operators see: metrics, traces and structured logs.

Nothing here decides anything. The ports are wrapped where a broker is opened, so that
the domain does not know that it is watched. No label, attribute or line holds a token,
a subject, an address or a text that a caller chose.
"""
