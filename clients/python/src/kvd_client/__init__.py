"""Client of kvd, the key-value REST service on SQL."""

from kvd_client.batch import Create, Delete, Get, Operation, Put
from kvd_client.client import AsyncClient, Client
from kvd_client.errors import (
    BatchFailed,
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
from kvd_client.result import Result

__all__ = [
    "AsyncClient",
    "BatchFailed",
    "Client",
    "Create",
    "DatabaseRefused",
    "Delete",
    "Forbidden",
    "Get",
    "Identity",
    "InvalidRequest",
    "Item",
    "KeyExists",
    "KvdError",
    "NotFound",
    "Operation",
    "OutcomeUnknown",
    "PreconditionFailed",
    "Put",
    "RateLimited",
    "Result",
    "Rule",
    "Unauthenticated",
    "Unavailable",
    "ValueTooLarge",
]
