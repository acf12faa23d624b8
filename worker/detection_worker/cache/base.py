"""The store of cache entries as the cache sees it."""

from dataclasses import dataclass
from typing import Protocol


class CacheError(Exception):
    """The store did not do what it was asked to; the cache goes on without it.

    Attributes:
        denied: The worker's role lacks a permission.
        lasts: Every other call would end so too: the store is left alone for a while.
    """

    def __init__(self, message: str, *, denied: bool = False, lasts: bool = True) -> None:
        super().__init__(message)
        self.denied = denied
        self.lasts = lasts


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """An entry as it is stored.

    Attributes:
        body: Its bytes; anyone who may write there can have made them.
        etag: Names this state of the entry; None if the store has no such thing.
    """

    body: bytes
    etag: str | None


class EntryStore(Protocol):
    """Keeps entries by name; thread-safe, and never slow: a call ends within seconds."""

    def get(self, name: str) -> StoredEntry | None:
        """Return an entry; None if there is none.

        Raises:
            CacheError: It cannot be read.
        """
        ...

    def put(self, name: str, body: bytes, *, replaces: str | None) -> str | None:
        """Write an entry, unless another worker has written it meanwhile.

        Args:
            name: Its name.
            body: Its bytes.
            replaces: ETag of the entry that may be overwritten; None if there was none.

        Returns:
            The ETag of what was written; None if another worker was faster.

        Raises:
            CacheError: It cannot be written.
        """
        ...
