"""A service that runs: the open project, and what works for it beside the requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from clearwell.application.keeping import Keeper, keeping
from clearwell.application.publishing import Limits, Publisher
from clearwell.application.workspace import Workspace


@dataclass(frozen=True)
class ServiceOptions:
    """What whoever starts the service says: the largest body of a request, as sent and unpacked, what may wait,
    and the secret that the identity provider knows this service by."""

    body_bytes: int = 32 << 20
    unpacked_bytes: int = 64 << 20
    limits: Limits = field(default_factory=Limits)
    oidc_secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class Service:
    """What requests are answered with."""

    workspace: Workspace
    publisher: Publisher
    keeper: Keeper
    options: ServiceOptions


@contextmanager
def running(workspace: Workspace, options: ServiceOptions) -> Iterator[Service]:
    """Take the writer's lease, keep the projections, and publish, until the block ends.

    Raises StorageError when another process writes to the log, DataError when the model or the log has problems.
    """
    workspace.catalog.hold()
    with keeping(workspace) as keeper:
        publisher = Publisher(workspace, options.limits)
        publisher.start()
        try:
            yield Service(workspace, publisher, keeper, options)
        finally:
            publisher.stop()
