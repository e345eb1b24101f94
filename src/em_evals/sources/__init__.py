"""The originals: downloaded once, verified at every use, never part of this repository.

`path(name)` and `read_bytes(name)` are what the rest of the suite calls; nothing else opens an
original. A file is looked up in the mirror (`EM_EVALS_SOURCES=DIR`), in the cache
(`EM_EVALS_CACHE`, else the user's cache directory), and then fetched from its pinned origin.
"""

from em_evals.sources._catalog import (
    Catalog,
    HttpRepository,
    HubRepository,
    Source,
    UserRepository,
    WheelRepository,
    load_catalog,
)
from em_evals.sources._errors import SourceError, UnavailableError, WrongContentError
from em_evals.sources._files import Digest
from em_evals.sources._paths import datasets_dir, named
from em_evals.sources._store import (
    Pulled,
    Status,
    add,
    get,
    mirror,
    names,
    path,
    place,
    pull,
    read_bytes,
    verify,
    where,
)

__all__ = [
    "Catalog",
    "Digest",
    "HttpRepository",
    "HubRepository",
    "Pulled",
    "Source",
    "SourceError",
    "Status",
    "UnavailableError",
    "UserRepository",
    "WheelRepository",
    "WrongContentError",
    "add",
    "datasets_dir",
    "get",
    "load_catalog",
    "mirror",
    "named",
    "names",
    "path",
    "place",
    "pull",
    "read_bytes",
    "verify",
    "where",
]
