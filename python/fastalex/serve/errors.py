"""The error of the service: a sentence for the client, with its HTTP status."""

from __future__ import annotations

from typing import Optional

from ..errors import UserError


class ServiceError(UserError):
    """A request that is not answered; its message is one sentence for the client.

    :ivar status: the HTTP status.
    :ivar retry_after: the seconds after which another try may succeed (``Retry-After``), or None.
    """

    def __init__(self, status: int, sentence: str, retry_after: Optional[int] = None) -> None:
        super().__init__(sentence)
        self.status, self.retry_after = status, retry_after
