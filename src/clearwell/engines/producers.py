"""Opens a producer's own records, in its database or in its files, for a comparison with the log.

They are read only, in one view of the data, with a limit of time for each statement. No password is ever told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clearwell.application.comparing import Asked, Producer
from clearwell.engines.producer_databases import database_records
from clearwell.engines.producer_files import file_records


@contextmanager
def open_producer(asked: Asked, folder: Path) -> Iterator[Producer]:
    """The records that `asked` is about; paths of the source are relative to `folder`.

    Raises UsageError for a source that cannot be meant, DataError for a query or for records that cannot be compared,
    StorageError for a database that cannot be reached or takes too long.
    """
    if asked.source.url:
        with database_records(asked, folder, os.environ) as records:
            yield records
    else:
        with file_records(asked, folder) as records:
            yield records
