"""The settings of the service: all that the command line says, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional, Tuple

from .._util import arguments
from ..errors import UserError
from .specs import LpipsSpec, ModelSpec

# As browsers write Origin and Host, with or without a port; a longer address would never be one.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+/?", re.IGNORECASE)
_HOST = re.compile(r"[^/\s?#@]+")


@dataclass(frozen=True)
class Settings:
    """All that the command line said; every default has its reason beside it.

    :raises UserError: for a value out of range, an origin or a host that is none, or two models of one name.
    """

    models: Tuple[ModelSpec, ...] = ()
    lpips: Optional[LpipsSpec] = None
    host: str = "127.0.0.1"  # nobody else reaches a server that nobody meant to publish
    port: int = 8000  # Triton's and KServe's
    token: Optional[str] = None
    allow_control: bool = False
    allowed_hosts: Tuple[str, ...] = ()  # besides the addresses of this machine
    allowed_origins: Tuple[str, ...] = ()

    max_batch: int = 32  # images in a call of the engine: three times the rate of one, and 20 MB of images
    max_delay_us: int = 2000  # a quarter of AlexNet's time for one image alone, on two cores of a server
    queue_per_client: int = 256  # images a client address may have waiting, eight full batches
    queue_total: int = 1024  # images of all clients
    decoders: int = 0  # threads that decode images; 0: one a processor, as fewer leave the engine to small batches
    threads: Optional[int] = None  # of the engine, for models that do not say their own

    max_body_bytes: int = 64 << 20  # 106 float32 images of 3 x 224 x 224
    max_pixels: int = 50_000_000  # of an image; cameras have up to 50 million, and decoding takes 150 MB
    max_bodies_bytes: int = 512 << 20  # of all requests that are read or answered, eight of the largest
    request_timeout_s: float = 30.0  # the longest deadline, and that of requests without one
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    max_connections: int = 1024
    max_connections_per_client: int = 256
    drain_s: float = 30.0  # Kubernetes' own patience with a container that it stops

    def __post_init__(self) -> None:
        memory = ("max_body_bytes", "max_bodies_bytes", "max_pixels")
        for name in ("max_batch", "queue_per_client", "queue_total", *memory):
            arguments.positive_int(name, getattr(self, name))
        for name in ("max_delay_us", "decoders", "port"):
            arguments.at_least(name, getattr(self, name), 0)
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise UserError(f"an allowed origin is as https://example.org or http://localhost:3000, not '{origin}'")
        for host in self.allowed_hosts:
            if not _HOST.fullmatch(host):
                raise UserError(f"an allowed host is a name or an address, such as example.org, not '{host}'")
        names = [model.name for model in self.models]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"two models are called '{twice}'; give each its own name, --model NAME=FILE")
