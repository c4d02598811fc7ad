"""Who may ask: a bearer token."""

import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse


class BearerToken:
    """Let requests pass that carry `Authorization: Bearer TOKEN`.

    Others are answered with 401 before a byte of their body is read.

    Args:
        app: of ASGI, behind it.
        token: that clients must know. It is compared in constant time.
        open_paths: that need no token.
    """

    def __init__(self, app, token: str, open_paths: frozenset[str] = frozenset()):
        self.app = app
        self.token = token.encode()
        self.open_paths = open_paths

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["path"] in self.open_paths:
            return await self.app(scope, receive, send)
        sent = Headers(scope=scope).get("authorization", "")
        scheme, _, token = sent.partition(" ")
        is_known = hmac.compare_digest(token.strip().encode("latin-1"), self.token)
        if is_known and scheme.lower() == "bearer":
            return await self.app(scope, receive, send)
        response = JSONResponse(
            {"error": "A valid token is needed: send 'Authorization: Bearer TOKEN'."},
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
        return await response(scope, receive, send)
