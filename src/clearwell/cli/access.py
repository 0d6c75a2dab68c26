"""Commands for who may use the service, and who changed what: key, person, audit. They work on the catalog itself."""

from __future__ import annotations

import getpass
import json
import sys
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from clearwell.application.asked_texts import pairs
from clearwell.cli.options import HERE, JsonOption, ProjectOption
from clearwell.cli.output import print_json, print_json_rows, print_table
from clearwell.cli.session import project as opened
from clearwell.errors import UsageError

key_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys, by which programs use the service.")
person_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="People, who sign in to the service.")

RoleOfKey = Literal["producer", "reader", "analyst", "approver", "administrator", "tenant"]
RoleOfPerson = Literal["reader", "analyst", "approver", "administrator"]
KeyArgument = Annotated[str, typer.Argument(help="The key's name.")]
PersonArgument = Annotated[str, typer.Argument(help="The person's name, such as their email.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.add_typer(key_app, name="key")
    app.add_typer(person_app, name="person")
    app.command(epilog="Example: clearwell audit --act key --since 2026-01-01")(audit)


@key_app.command("make", epilog="Example: clearwell key make checkout --role producer --event-type charge.creation")
def make_key(
    name: KeyArgument,
    role: Annotated[RoleOfKey, typer.Option("--role", help="What the key may be used for.")],
    project: ProjectOption = HERE,
    event_type: Annotated[
        list[str] | None,
        typer.Option("--event-type", help="An event type that a producer may publish; none: any. Repeatable."),
    ] = None,
    bound: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="NAME=VALUE", help="What a tenant is bound to. Repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print its secret: this once, for it is not kept."""
    from clearwell.application import access

    types = frozenset(event_type) if event_type else None
    with opened(project) as workspace:
        made = access.make_key(workspace, name, role, event_types=types, properties=pairs(bound, "--property"))
    if as_json:
        print_json(asdict(made))
    else:
        typer.echo(f"The key {made.name} ({made.role}), which is not kept and never told again:", err=True)
        typer.echo(made.secret)


@key_app.command("list", epilog="Example: clearwell key list --json")
def list_keys(project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """List the keys, revoked or not. Nobody can list their secrets."""
    from clearwell.application import access

    with opened(project) as workspace:
        found = access.keys(workspace)
    if as_json:
        print_json_rows(asdict(item) for item in found)
        return
    headings = [(name, "left") for name in ("Name", "Role", "Bound to", "Made at", "By", "Revoked at")]
    rows = [[*asdict(item).values()] for item in found]
    rows = [[name, role, _bound(types, values), *rest] for name, role, types, values, *rest in rows]
    print_table(f"{sum(not item.revoked_at for item in found):,} key(s) in use", headings, rows)


@key_app.command("revoke", epilog="Example: clearwell key revoke checkout")
def revoke_key(name: KeyArgument, project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Revoke a key: a service that runs refuses it within two seconds. Can be repeated, and not taken back."""
    from clearwell.application import access

    with opened(project) as workspace:
        done = access.revoke_key(workspace, name)
    _say(f"{name} is revoked." if done else f"{name} was revoked before.", as_json=as_json, name=name, revoked=done)


@person_app.command("add", epilog="Example: clearwell person add alice@example.com --role analyst < password.txt")
def add_person(
    name: PersonArgument,
    role: Annotated[RoleOfPerson, typer.Option("--role", help="What they may do.")],
    project: ProjectOption = HERE,
    without_password: Annotated[
        bool, typer.Option("--without-password", help="They sign in by the identity provider.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Add a person. Their password is asked for; where there is no terminal, it is a line of standard input."""
    from clearwell.application import people

    password = "" if without_password else _read_password()
    with opened(project) as workspace:
        people.add_person(workspace, name, role, password)
    _say(f"{name} may sign in as {role}.", as_json=as_json, name=name, role=role)


@person_app.command("password", epilog="Example: clearwell person password alice@example.com")
def set_password(name: PersonArgument, project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Give a person another password, read as `add` does; their sessions end."""
    from clearwell.application import people

    password = _read_password()
    with opened(project) as workspace:
        people.set_password(workspace, name, password)
    _say(f"{name} has another password.", as_json=as_json, name=name)


@person_app.command("role", epilog="Example: clearwell person role alice@example.com approver")
def set_role(
    name: PersonArgument,
    role: Annotated[RoleOfPerson, typer.Argument(help="What they may do from now on.")],
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Give a person another role."""
    from clearwell.application import people

    with opened(project) as workspace:
        done = people.set_role(workspace, name, role)
    _say(f"{name} is {'now' if done else 'already'} {role}.", as_json=as_json, name=name, changed=done)


@person_app.command("disable", epilog="Example: clearwell person disable alice@example.com")
def disable(name: PersonArgument, project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Let a person in no more, and end their sessions."""
    from clearwell.application import people

    with opened(project) as workspace:
        done = people.disable(workspace, name)
    _say(f"{name} is {'now' if done else 'already'} disabled.", as_json=as_json, name=name, changed=done)


@person_app.command("enable", epilog="Example: clearwell person enable alice@example.com")
def enable(name: PersonArgument, project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Let a person in again."""
    from clearwell.application import people

    with opened(project) as workspace:
        done = people.enable(workspace, name)
    text = f"{name} may sign in again." if done else f"{name} was not disabled."
    _say(text, as_json=as_json, name=name, changed=done)


@person_app.command("list", epilog="Example: clearwell person list --json")
def list_people(project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """List the people, disabled or not."""
    from clearwell.application import people

    with opened(project) as workspace:
        found = people.people(workspace)
    if as_json:
        print_json_rows(asdict(item) for item in found)
        return
    headings = [(name, "left") for name in ("Name", "Role", "Password", "Added at", "Disabled at")]
    rows = [
        (item.name, item.role, "yes" if item.has_password else "no", item.created_at, item.disabled_at)
        for item in found
    ]
    print_table(f"{sum(not item.disabled_at for item in found):,} person(s) may sign in", headings, rows)


def audit(
    project: ProjectOption = HERE,
    who: Annotated[str, typer.Option("--who", help='Only what they changed, such as "key checkout".')] = "",
    act: Annotated[str, typer.Option("--act", help="Only this act, such as key.make, or its first word.")] = "",
    subject: Annotated[str, typer.Option("--subject", help="Only what was changed on this.")] = "",
    since: Annotated[str, typer.Option("--since", metavar="INSTANT", help="From this instant or day on.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="INSTANT", help="Before this instant or day.")] = "",
    after: Annotated[
        int | None, typer.Option("--after", min=0, help="Entries with a greater number, oldest first.")
    ] = None,
    before: Annotated[int, typer.Option("--before", min=0, help="Entries with a lesser number, newest first.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="At most so many.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Print who changed what, when, and from where; the newest first."""
    from clearwell.application import auditing
    from clearwell.catalog.audit import AuditFilter

    wanted = AuditFilter(who, act, subject, after=after, before=before)
    with opened(project) as workspace:
        found = auditing.entries(workspace, wanted, since=since, until=until, limit=limit)
    if as_json:
        print_json_rows(asdict(item) for item in found)
        return
    headings = [("Number", "right"), *((name, "left") for name in ("At", "Who", "Act", "On", "Details", "From"))]
    rows = [
        (item.number, item.at, item.who, item.act, item.subject, _particulars(item.details), item.origin)
        for item in found
    ]
    print_table(f"{len(found):,} change(s)", headings, rows)


def _read_password() -> str:
    """A password that nobody sees: typed twice at a terminal, or a line of standard input. Never an argument."""
    if not sys.stdin.isatty():
        text = sys.stdin.readline().rstrip("\r\n")
        if not text:
            raise UsageError("password_missing", "expected the password as a line of standard input, found none")
        return text
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise UsageError("password_not_repeated", "expected the same password twice")
    return first


def _bound(event_types: tuple[str, ...] | None, properties: object) -> str:
    if event_types is not None:
        return ", ".join(event_types)
    return ", ".join(f"{name}={value}" for name, value in properties.items()) if isinstance(properties, dict) else ""


def _particulars(details: dict[str, Any]) -> str:
    return json.dumps(details, ensure_ascii=False) if details else ""


def _say(text: str, *, as_json: bool, **content: object) -> None:
    if as_json:
        print_json(content)
    else:
        typer.echo(text)
