"""`/v1/people`: who may sign in, and with which role."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from clearwell.application import people
from clearwell.application.access import LONGEST_NAME
from clearwell.application.passwords import LONGEST, SHORTEST
from clearwell.service.api.schemas import responses
from clearwell.service.api.security import Administering

router = APIRouter(tags=["access"])

NamePath = Annotated[str, Path(max_length=LONGEST_NAME, description="The person's name.")]
RoleOfPerson = Literal["reader", "analyst", "approver", "administrator"]
Password = Annotated[SecretStr, Field(description=f"{SHORTEST} to {LONGEST:,} characters.", max_length=4 * LONGEST)]


class PersonAnswer(BaseModel):
    """A person."""

    name: str
    role: RoleOfPerson
    has_password: bool
    created_at: str
    disabled_at: str = Field(description="Empty unless they are disabled.")


class PeopleAnswer(BaseModel):
    """Everybody."""

    people: list[PersonAnswer]


class WantedPerson(BaseModel):
    """The person to add. Without a password they sign in by the identity provider."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=LONGEST_NAME, examples=["alice@example.com"])
    role: RoleOfPerson
    password: Password | None = None


class PersonChange(BaseModel):
    """What is to be another: what is null stays."""

    model_config = ConfigDict(extra="forbid")

    role: RoleOfPerson | None = None
    disabled: bool | None = None
    password: Password | None = None


_PERSON = {
    "name": "alice@example.com", "role": "approver", "has_password": True,
    "created_at": "2026-01-02T03:04:05.000000Z", "disabled_at": "",
}  # fmt: skip


@router.get("/v1/people", responses=responses(PeopleAnswer, {"people": [_PERSON]}, of_cut=False))
def list_people(request: Request, _principal: Administering) -> PeopleAnswer:
    """Everybody who may sign in, or might."""
    found = people.people(request.app.state.service.workspace)
    return PeopleAnswer(people=[PersonAnswer.model_validate(item, from_attributes=True) for item in found])


@router.post("/v1/people", status_code=201, responses=responses(PersonAnswer, _PERSON, of_cut=False, status=201))
def add_person(request: Request, principal: Administering, wanted: WantedPerson) -> PersonAnswer:
    """Add a person."""
    password = wanted.password.get_secret_value() if wanted.password is not None else ""
    workspace = request.app.state.service.workspace.by(principal.actor)
    people.add_person(workspace, wanted.name, wanted.role, password)
    return _answer(request, wanted.name)


@router.patch("/v1/people/{name:path}", responses=responses(PersonAnswer, _PERSON, of_cut=False))
def change_person(request: Request, principal: Administering, name: NamePath, change: PersonChange) -> PersonAnswer:
    """Give a person another role or password, disable them or let them in again.

    Their sessions end with a new password, and when they are disabled.
    """
    workspace = request.app.state.service.workspace.by(principal.actor)
    if change.password is not None:  # First, for it may be refused: then nothing is changed.
        people.set_password(workspace, name, change.password.get_secret_value())
    if change.role is not None:
        people.set_role(workspace, name, change.role)
    if change.disabled is not None:
        (people.disable if change.disabled else people.enable)(workspace, name)
    request.app.state.doorman.forget()
    return _answer(request, name)


def _answer(request: Request, name: str) -> PersonAnswer:
    found = people.one_person(request.app.state.service.workspace, name)
    return PersonAnswer.model_validate(found, from_attributes=True)
