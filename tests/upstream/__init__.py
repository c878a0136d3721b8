"""The upstream adapter against real sockets."""
