"""The settings of a project: `clearwell.yaml`, read once, frozen, and passed in.

Refuses unknown keys, so that a misspelt setting is never silently ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from clearwell.errors import DataError, UsageError

FILE_NAME = "clearwell.yaml"
CATALOG_URL = "CLEARWELL_CATALOG_URL"
LARGEST_FILE_BYTES = 1_048_576
_DEEPEST = 12
_LONGEST_NAME = 255
_SCHEDULE = re.compile(r"off|([1-9][0-9]{0,5}) (minute|hour|day)s?|daily at ([01][0-9]|2[0-3]):([0-5][0-9])")
_MINUTES = {"minute": 1, "hour": 60, "day": 1_440}
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


class ProducerSource(BaseModel):
    """Where a producer's own records are, of which each must have an event of a type."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_type: str
    url: str = ""
    """A database, as SQLAlchemy writes it; `${NAME}` stands for a variable of the environment."""
    file: str = ""
    """Parquet or CSV files, relative to the project; `*` stands for any part of a name."""
    query: str = ""
    """A SELECT with the column `id`, and `amount`, `currency`, `time` where there are any. Of files: over `records`."""
    amount_of: str = ""
    """The amount of the event that is compared; by default the only one that the event type has."""
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600
    """So long a statement may take."""

    @field_validator("url")
    @classmethod
    def _password_is_elsewhere(cls, value: str) -> str:
        try:
            password = urlsplit(value).password
        except ValueError:
            raise ValueError("expected a URL such as postgresql://user:${PASSWORD}@host/database") from None
        written = bool(password) and not _VARIABLE.fullmatch(password or "")
        if written or "password=" in value.lower():
            raise ValueError("expected no password in this file: write ${NAME}, and set the variable NAME")
        return value

    @model_validator(mode="after")
    def _place_is_one(self) -> ProducerSource:
        if bool(self.url) == bool(self.file):
            raise ValueError("expected either url or file")
        if self.url and not self.query:
            raise ValueError("expected a query with the url")
        if ";" in self.query.rstrip().removesuffix(";"):
            raise ValueError("expected one SELECT without a semicolon in query")
        return self


class ExpectationSettings(BaseModel):
    """How windows and arrivals are learned from history (docs/guides/expectations.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantile: Annotated[Decimal, Field(ge=Decimal("0.5"), le=Decimal("0.9999"))] = Decimal("0.99")
    """The share of episodes, and of events, that what is learned must be long enough for."""
    headroom: Annotated[Decimal, Field(ge=1, le=10)] = Decimal("1.2")
    """What is learned is made so many times as long."""
    minimum_episodes: Annotated[int, Field(ge=2)] = 200
    """Fewer episodes than these are no history to learn from."""
    subdivide: dict[str, str] = Field(default_factory=dict)
    """Account type to the property whose values are looked at one by one."""


class JobSchedule(BaseModel):
    """When a job of the service runs: after so many minutes, each day at a time, or (neither) when it is asked to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every_minutes: int = 0
    daily_at: time | None = None

    @classmethod
    def read(cls, text: object) -> JobSchedule:
        """What `text` writes. Raises ValueError when it is no schedule."""
        if isinstance(text, JobSchedule):
            return text
        match = _SCHEDULE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"expected a schedule such as '10 minutes', 'daily at 03:00' or 'off', found {text!r}")
        number, unit, hour, minute = match.groups()
        if number:
            return cls(every_minutes=int(number) * _MINUTES[unit])
        return cls(daily_at=time(int(hour), int(minute)) if hour else None)

    @model_serializer
    def _text(self) -> str:
        """As it is written in the settings."""
        for unit, minutes in reversed(_MINUTES.items()):
            if self.every_minutes and self.every_minutes % minutes == 0:
                return f"{self.every_minutes // minutes} {unit}s"
        return f"daily at {self.daily_at:%H:%M}" if self.daily_at is not None else "off"


Schedule = Annotated[JobSchedule, BeforeValidator(JobSchedule.read)]


class JobSettings(BaseModel):
    """When the jobs of the service run, and what they need to know (docs/guides/operations.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seal: Schedule = JobSchedule(every_minutes=10)
    tidy: Schedule = JobSchedule(every_minutes=60)
    evaluate: Schedule = JobSchedule(daily_at=time(0, 15))
    compare: Schedule = JobSchedule()
    compact: Schedule = JobSchedule(every_minutes=60)
    back_up: Schedule = JobSchedule()
    evaluated_days: Annotated[int, Field(ge=1, le=3_660)] = 35
    """So many days up to now are evaluated each time."""
    backup_folder: Path | None = None
    """Where the backup is kept, relative to the project; not within it."""

    @model_validator(mode="after")
    def _backup_has_a_place(self) -> JobSettings:
        if self.back_up != JobSchedule() and self.backup_folder is None:
            raise ValueError("expected a backup_folder for back_up")
        return self


class OidcSettings(BaseModel):
    """The identity provider by which people may sign in (docs/guides/access.md); its secret is in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    """The provider's address, as its tokens have it."""
    client_id: Annotated[str, Field(min_length=1)]
    name_claim: Annotated[str, Field(min_length=1)] = "email"
    """The claim that is the person's name here; an email must be verified."""
    role_claim: str = ""
    """The claim, a text or a list of texts, that `roles` maps; without it nobody is added."""
    roles: dict[str, Literal["reader", "analyst", "approver", "administrator"]] = Field(default_factory=dict)
    """Value of `role_claim` to the role with which somebody who is not known yet is added."""
    redirect_url: str = ""
    """Where the provider sends a browser back to; by default what it asked for."""

    @field_validator("issuer")
    @classmethod
    def _issuer_is_secure(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in ("127.0.0.1", "::1", "localhost")):
            raise ValueError("expected an https address")
        return value

    @model_validator(mode="after")
    def _mapping_is_whole(self) -> OidcSettings:
        if bool(self.role_claim) != bool(self.roles):
            raise ValueError("expected role_claim and roles together")
        return self


class Settings(BaseModel):
    """What a project may set; every key has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    time_zone: str = "UTC"
    """The zone whose days count as business days."""
    currencies: dict[str, int] = Field(default_factory=dict)
    """Currencies beside ISO 4217: code to number of decimals."""
    variables: dict[str, str] = Field(default_factory=dict)
    """What sources read with `getvariable('name')`."""
    data: Path = Path("data")
    """The folder of log, catalog and projections, relative to the project."""
    future_limit_days: Annotated[int, Field(ge=0, le=36_500)] = 366
    """How far ahead of the clock an event's times may lie."""
    batch_events: Annotated[int, Field(ge=1, le=5_000_000)] = 500_000
    """The most events that one segment takes."""
    compaction_events: Annotated[int, Field(ge=2, le=20_000_000)] = 4_000_000
    """The most events that compaction puts into one file of the log."""
    record_bytes: Annotated[int, Field(ge=1_000, le=64_000_000)] = 1_000_000
    """The largest record that is read; a larger one goes to quarantine."""
    expectations: ExpectationSettings = ExpectationSettings()
    """How windows and arrivals are learned."""
    producer_sources: dict[str, ProducerSource] = Field(default_factory=dict)
    """By name: the records of producers that completeness is measured against."""
    jobs: JobSettings = JobSettings()
    """When the jobs of the service run."""
    oidc: OidcSettings | None = None
    """The identity provider of the people who sign in to the service; without it they have passwords."""

    @model_validator(mode="after")
    def _comparisons_have_a_source(self) -> Settings:
        if self.jobs.compare != JobSchedule() and not self.producer_sources:
            raise ValueError("expected producer_sources for the job compare")
        return self

    @property
    def future_limit(self) -> timedelta:
        """`future_limit_days` as a duration."""
        return timedelta(days=self.future_limit_days)

    @field_validator("data")
    @classmethod
    def _folder_can_be(cls, value: Path) -> Path:
        if "\0" in str(value) or any(len(part.encode("utf-8", "replace")) > _LONGEST_NAME for part in value.parts):
            raise ValueError(f"expected a path with names of at most {_LONGEST_NAME} bytes, found {str(value)[:80]!r}")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        # The default is known; to list all zones takes 30 ms.
        if value != "UTC" and value not in available_timezones():
            raise ValueError(f"expected an IANA time zone such as 'Europe/Amsterdam', found {value!r}")
        return value


def catalog_url(environment: Mapping[str, str]) -> str:
    """Where the catalog is in PostgreSQL, by `CLEARWELL_CATALOG_URL`; empty when it is a file of the data folder.

    It may hold a password, and so it is no setting of `clearwell.yaml`.
    """
    return environment.get(CATALOG_URL, "").strip()


def read_settings(folder: Path) -> Settings:
    """The settings in `folder`/clearwell.yaml.

    Raises UsageError when the folder is no project, DataError when the file is wrong.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise UsageError(
            "project_not_found",
            f"{folder} is not a Clearwell project: expected a file {FILE_NAME} in it. "
            "Start one with `clearwell init`, or name one with --project.",
        )
    content = _loaded(path)
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise DataError("settings_invalid", f"{path}: expected a mapping of settings, found {type(content).__name__}")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        details = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise DataError("settings_invalid", f"{path} has {len(details)} problem(s)", details) from error


def _loaded(path: Path) -> object:
    """The YAML at `path`. Refuses what can grow when it is read: aliases, deep nesting, and very large files."""
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE_BYTES:
            found = f"{size} bytes"
            raise DataError(
                "settings_unreadable", f"{path}: expected at most {LARGEST_FILE_BYTES} bytes, found {found}"
            )
        text = path.read_bytes().decode("utf-8-sig")
        depth = 0
        for event in YAML(typ="safe", pure=True).parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if isinstance(event, ScalarEvent):
                event.value.encode()  # An escape can make half a character, which is no text.
            if isinstance(event, AliasEvent) or depth > _DEEPEST:
                found = "an alias" if isinstance(event, AliasEvent) else "deeper nesting"
                expected = f"values written out, at most {_DEEPEST} levels deep"
                raise DataError("settings_unreadable", f"{path}: expected {expected}, found {found}")
        return YAML(typ="safe", pure=True).load(text)
    except OSError as error:
        raise DataError("settings_unreadable", f"{path}: it cannot be read: {error.strerror}") from error
    except (YAMLError, ValueError, OverflowError, TypeError) as error:  # The last three: a value as no one writes it.
        raise DataError("settings_unreadable", f"{path}: expected YAML, found: {error}") from error
