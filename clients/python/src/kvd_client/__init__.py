"""Client of kvd, the key-value REST service on SQL."""

from kvd_client.client import AsyncClient, Client
from kvd_client.errors import (
    DatabaseRefused,
    Forbidden,
    InvalidRequest,
    KeyExists,
    KvdError,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    RateLimited,
    Unauthenticated,
    Unavailable,
    ValueTooLarge,
)
from kvd_client.identity import Identity, Rule
from kvd_client.item import Item

__all__ = [
    "AsyncClient",
    "Client",
    "DatabaseRefused",
    "Forbidden",
    "Identity",
    "InvalidRequest",
    "Item",
    "KeyExists",
    "KvdError",
    "NotFound",
    "OutcomeUnknown",
    "PreconditionFailed",
    "RateLimited",
    "Rule",
    "Unauthenticated",
    "Unavailable",
    "ValueTooLarge",
]
