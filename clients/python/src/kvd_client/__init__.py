"""Client of kvd, the key-value REST service on SQL."""

from kvd_client.client import AsyncClient, Client
from kvd_client.errors import (
    DatabaseRefused,
    InvalidRequest,
    KeyExists,
    KvdError,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    RateLimited,
    Unavailable,
    ValueTooLarge,
)
from kvd_client.item import Item

__all__ = [
    "AsyncClient",
    "Client",
    "DatabaseRefused",
    "InvalidRequest",
    "Item",
    "KeyExists",
    "KvdError",
    "NotFound",
    "OutcomeUnknown",
    "PreconditionFailed",
    "RateLimited",
    "Unavailable",
    "ValueTooLarge",
]
