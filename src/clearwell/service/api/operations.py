"""`/healthz`, `/readyz`, `/metrics`: for whoever keeps the service running. They tell no secrets, and no ids."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from clearwell.application.health import readiness
from clearwell.service.api.problems import ProblemAnswer
from clearwell.service.metrics import CONTENT_TYPE
from clearwell.service.running import Service

router = APIRouter(tags=["operations"])
metrics_router = APIRouter(tags=["operations"])
"""Apart, for it may need a key."""


class Health(BaseModel):
    """That the process answers."""

    status: str = "alive"


class ReadyPart(BaseModel):
    """One thing that must be so for the service to do its work."""

    name: str
    ready: bool
    code: str
    message: str


class Readiness(BaseModel):
    """Whether the service can do its work, and each part of that."""

    ready: bool
    parts: list[ReadyPart]


@router.get("/healthz")
async def healthz() -> Health:
    """Whether the process is alive and answers. Needs no key."""
    return Health()


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
def readyz(request: Request) -> Response:
    """Whether events can be published and questions answered, by part; 503 when not. Needs no key."""
    service: Service = request.app.state.service
    parts = readiness(service.workspace, service.publisher, service.keeper, stopping=service.stopping.has_begun)
    ready = all(part.ready for part in parts)
    found = Readiness(ready=ready, parts=[ReadyPart(**part.__dict__) for part in parts])
    return JSONResponse(found.model_dump(), 200 if ready else 503)


@metrics_router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **{status: {"model": ProblemAnswer} for status in (401, 403)},
    },
)
def metrics(request: Request) -> Response:
    """What the service measures of itself, in the text form of Prometheus.

    Listening on loopback, it needs no key; elsewhere one that may read.
    """
    service: Service = request.app.state.service
    return Response(service.metrics.shown(), media_type=CONTENT_TYPE)
