"""`/v1/keys`: the keys of programs. A secret is told in the answer that makes it, and never again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from clearwell.application import access
from clearwell.application.access import LONGEST_NAME, Role
from clearwell.service.api.schemas import responses
from clearwell.service.api.security import Administering

router = APIRouter(tags=["access"])

NamePath = Annotated[str, Path(max_length=LONGEST_NAME, description="The key's name.")]


class KeyAnswer(BaseModel):
    """A key. `event_types` are null where it may publish any, or may publish at all only by its role."""

    name: str
    role: Role
    event_types: list[str] | None
    properties: dict[str, str]
    created_at: str
    created_by: str
    revoked_at: str = Field(description="Empty unless it is revoked.")


class KeysAnswer(BaseModel):
    """Every key that was ever made."""

    keys: list[KeyAnswer]


class WantedKey(BaseModel):
    """The key to make."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=LONGEST_NAME, examples=["checkout"])
    role: Role
    event_types: list[str] | None = Field(None, description="What a producer may publish; null for any.")
    properties: dict[str, str] = Field(default_factory=dict, description="What a tenant is bound to.")


class MadeKeyAnswer(BaseModel):
    """A key that was made, with its secret."""

    name: str
    role: Role
    secret: str = Field(repr=False)


class RevokedAnswer(BaseModel):
    """Whether the key still had to be revoked."""

    revoked: bool


_KEY = {
    "name": "checkout", "role": "producer", "event_types": ["charge.creation"], "properties": {},
    "created_at": "2026-01-02T03:04:05.000000Z", "created_by": "key administrator", "revoked_at": "",
}  # fmt: skip
_MADE = {"name": "checkout", "role": "producer", "secret": "cw_…"}


@router.get("/v1/keys", responses=responses(KeysAnswer, {"keys": [_KEY]}, of_cut=False))
def list_keys(request: Request, _principal: Administering) -> KeysAnswer:
    """Every key, revoked or not, without its secret."""
    found = access.keys(request.app.state.service.workspace)
    return KeysAnswer(keys=[KeyAnswer.model_validate(item, from_attributes=True) for item in found])


@router.post("/v1/keys", status_code=201, responses=responses(MadeKeyAnswer, _MADE, of_cut=False, status=201))
def make_key(request: Request, principal: Administering, wanted: WantedKey) -> MadeKeyAnswer:
    """Make a key. Keep the secret: it is told here and never again."""
    made = access.make_key(
        request.app.state.service.workspace.by(principal.actor),
        wanted.name,
        wanted.role,
        event_types=frozenset(wanted.event_types) if wanted.event_types is not None else None,
        properties=wanted.properties,
    )
    return MadeKeyAnswer(name=made.name, role=made.role, secret=made.secret)


@router.delete("/v1/keys/{name:path}", responses=responses(RevokedAnswer, {"revoked": True}, of_cut=False))
def revoke_key(request: Request, principal: Administering, name: NamePath) -> RevokedAnswer:
    """Revoke a key: it works no more. Can be repeated."""
    done = access.revoke_key(request.app.state.service.workspace.by(principal.actor), name)
    request.app.state.doorman.forget()
    return RevokedAnswer(revoked=done)
