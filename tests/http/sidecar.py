"""A sidecar without privileges: `python -m tests.http.sidecar <socket>`.

As root it is nobody. It asks for a token and prints the answer's status.
"""

from __future__ import annotations

import os
import socket
import sys

NOBODY = 65534
ASKED = (
    b"POST /v1/grants/cloud/alice/token HTTP/1.1\r\nHost: a\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


def main() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(60)
        one.connect(sys.argv[1])
        one.sendall(ASKED)
        sys.stdout.write(one.recv(100).split()[1].decode())


if __name__ == "__main__":
    main()
