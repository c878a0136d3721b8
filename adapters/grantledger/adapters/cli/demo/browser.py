"""A browser of few words: follows redirects, and agrees to what it is asked.

It stands where the user's own browser stands, so it sees the consent page and the
redirects, and never a token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urljoin

import httpx

from grantledger.domain.errors import UpstreamRejected

_FORM = re.compile(r'<form[^>]*action="([^"]+)"')
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')
MAX_STEPS = 10
TIMEOUT_SECONDS = 20.0


@dataclass(slots=True)
class Browser:
    """One user in front of one browser.

    Attributes:
        user: who logs in.
        redirects: how many it has followed.
        pages: how many forms it has filled in.
    """

    user: str
    redirects: int = 0
    pages: int = 0
    _cookies: httpx.Cookies = field(default_factory=httpx.Cookies, repr=False)

    async def walk(self, url: str) -> int:
        """Go where the URL leads, agreeing on the way; return the last status.

        Raises:
            UpstreamRejected: it goes on and on.
        """
        async with httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            timeout=TIMEOUT_SECONDS,
            cookies=self._cookies,
        ) as client:
            response = await client.get(url)
            for _ in range(MAX_STEPS):
                if response.has_redirect_location:
                    self.redirects += 1
                    target = urljoin(str(response.url), response.headers["location"])
                    response = await client.get(target)
                elif form := _FORM.search(response.text):
                    self.pages += 1
                    response = await client.post(
                        urljoin(str(response.url), form[1]),
                        data={
                            **dict(_HIDDEN.findall(response.text)),
                            "user": self.user,
                            "decision": "approve",
                        },
                    )
                else:
                    return response.status_code
        raise UpstreamRejected("the server redirects for ever", "too_many_redirects")
