"""User administration: who may do what, and tokens. The page, the calls of the API, and what both of them and the command line do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from connect.config import Config
from connect.errors import ConfigError
from connect.state.audit import Audit
from connect.state.users import CONSOLE, ROLES, LoginRefused, Role, Token, User, Users
from workers.console.route import API, Asked, Route
from workers.jobs import Tools

DAYS_MOST: Final = 3650


class UserAnswer(BaseModel):
    """A user. `connections`: those that it is limited to; empty: all."""

    name: str
    role: Role
    connections: list[str]
    created_at: str
    has_password: bool


class UsersAnswer(BaseModel):
    users: list[UserAnswer]


class TokenAnswer(BaseModel):
    """A token as it is kept. `text`: what its user sends, given this once when it is made."""

    id: str
    user: str
    label: str
    created_at: str
    expires_at: str
    used_at: str
    text: str | None = None


class TokensAnswer(BaseModel):
    tokens: list[TokenAnswer]


class UserAct(BaseModel):
    """What was done to a user or a token."""

    n: int
    at: str
    by: str
    what: str
    about: str
    facts: dict[str, Any]
    hash: str


class UserActsAnswer(BaseModel):
    """The acts, oldest first, and what is wrong with their chain."""

    entries: list[UserAct]
    flaws: list[str]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NewUser(_Body):
    """`password` left out: nobody gets in by password; a proxy names the user, or a token."""

    name: str
    role: Role
    connections: list[str] = []
    password: str | None = None


class ChangedUser(_Body):
    role: Role
    connections: list[str] = []


class NewPassword(_Body):
    password: str


class NewToken(_Body):
    user: str
    label: str
    days: int | None = Field(default=None, ge=1, le=DAYS_MOST)


# -- acts, for page, API and command line ------------------------------------------------------------------------------


def audit_of_users(tools: Tools) -> Audit:
    return Audit(tools.redis, CONSOLE, clock=tools.clock)


def sids_of(config: Config, names: Sequence[str]) -> list[str]:
    """The state ids of connections. Raises ConfigError for one that there is not."""
    return [config.connection(name).sid for name in dict.fromkeys(names)]


def shown(config: Config, user: User) -> UserAnswer:
    names = {one.sid: one.name for one in config.connections}
    return UserAnswer(
        name=user.name,
        role=user.role,
        connections=[names.get(sid, f"(gone: {sid})") for sid in user.connections],
        created_at=user.created_at,
        has_password=bool(user.password),
    )


def shown_token(token: Token, text: str | None = None) -> TokenAnswer:
    return TokenAnswer(
        id=token.id,
        user=token.user,
        label=token.label,
        created_at=token.created_at,
        expires_at=token.expires_at,
        used_at=token.used_at,
        text=text,
    )


async def done_to_users(tools: Tools, newest: int = 500) -> UserActsAnswer:
    """Who did what to users and tokens, and whether that trail is whole."""
    trail = audit_of_users(tools)
    _, flaws = await trail.verify()
    entries = [
        UserAct(n=act.n, at=act.at, by=act.by, what=act.what, about=act.about, facts=act.facts, hash=act.hash)
        for act in await trail.acts(newest)
    ]
    return UserActsAnswer(entries=entries, flaws=[f"{flaw.n}: {flaw.message}" for flaw in flaws])


async def add(
    tools: Tools, users: Users, *, name: str, role: Role, connections: Sequence[str], password: str | None, by: str
) -> UserAnswer:
    user = await users.add(name, password, role, sids_of(tools.config, connections))
    await audit_of_users(tools).add("add user", user.name, by=by, role=role, connections=list(connections))
    return shown(tools.config, user)


async def change(tools: Tools, users: Users, name: str, *, role: Role, connections: Sequence[str], by: str) -> UserAnswer:
    user = await users.change(name, role=role, connections=sids_of(tools.config, connections))
    await audit_of_users(tools).add("change user", user.name, by=by, role=role, connections=list(connections))
    return shown(tools.config, user)


async def set_password(tools: Tools, users: Users, name: str, password: str, *, by: str) -> UserAnswer:
    user = await users.set_password(name, password)
    await audit_of_users(tools).add("set password", user.name, by=by)
    return shown(tools.config, user)


async def remove(tools: Tools, users: Users, name: str, *, by: str) -> UserAnswer:
    user = await users.remove(name)
    await audit_of_users(tools).add("remove user", user.name, by=by)
    return shown(tools.config, user)


async def create_token(tools: Tools, users: Users, name: str, label: str, *, days: int | None, by: str) -> TokenAnswer:
    if days is not None and not 1 <= days <= DAYS_MOST:
        raise ConfigError(f"a token lasts 1 to {DAYS_MOST} days, or until it is revoked", code="days")
    text, token = await users.create_token(name, label, lasts=None if days is None else timedelta(days=days))
    await audit_of_users(tools).add("create token", token.user, by=by, token=token.id, label=token.label)
    return shown_token(token, text)


async def revoke(tools: Tools, users: Users, token_id: str, *, by: str, of: str | None = None) -> TokenAnswer:
    """`of`: only when it is this user's. Raises ConfigError when there is no such token."""
    found = next((token for token in await users.tokens(of) if token.id == token_id), None)
    if found is None or not await users.revoke(token_id):
        raise ConfigError(f"there is no token {token_id}; `connect console token list` shows them", code="unknown-token")
    await audit_of_users(tools).add("revoke token", found.user, by=by, token=found.id, label=found.label)
    return shown_token(found)


# -- the API -----------------------------------------------------------------------------------------------------------


async def list_users(asked: Asked) -> UsersAnswer:
    return UsersAnswer(users=[shown(asked.tools.config, user) for user in await asked.console.users.all()])


async def post_user(asked: Asked) -> UserAnswer:
    new = asked.given(NewUser)
    return await add(
        asked.tools, asked.console.users, name=new.name, role=new.role, connections=new.connections, password=new.password, by=asked.by
    )


async def put_user(asked: Asked) -> UserAnswer:
    new = asked.given(ChangedUser)
    _not_oneself(asked, asked.path["name"])
    return await change(asked.tools, asked.console.users, asked.path["name"], role=new.role, connections=new.connections, by=asked.by)


async def put_password(asked: Asked) -> UserAnswer:
    return await set_password(asked.tools, asked.console.users, asked.path["name"], asked.given(NewPassword).password, by=asked.by)


async def delete_user(asked: Asked) -> UserAnswer:
    _not_oneself(asked, asked.path["name"])
    return await remove(asked.tools, asked.console.users, asked.path["name"], by=asked.by)


async def list_acts(asked: Asked) -> UserActsAnswer:
    """Who did what to users and tokens."""
    return await done_to_users(asked.tools)


async def list_tokens(asked: Asked) -> TokensAnswer:
    return TokensAnswer(tokens=[shown_token(token) for token in await asked.console.users.tokens()])


async def post_token(asked: Asked) -> TokenAnswer:
    new = asked.given(NewToken)
    return await create_token(asked.tools, asked.console.users, new.user, new.label, days=new.days, by=asked.by)


async def delete_token(asked: Asked) -> TokenAnswer:
    return await revoke(asked.tools, asked.console.users, asked.path["id"], by=asked.by)


def _not_oneself(asked: Asked, name: str) -> None:
    if name.casefold() == asked.by:
        raise ConfigError("that is you: let another administrator do it", code="oneself")


# -- pages -------------------------------------------------------------------------------------------------------------


async def users_page(asked: Asked, *, problem: str = "", made: str = "", status: int = 200) -> web.Response:
    return asked.page(
        "users.html",
        status=status,
        users=[shown(asked.tools.config, user) for user in await asked.console.users.all()],
        tokens=[shown_token(token) for token in await asked.console.users.tokens()],
        roles=ROLES,
        connections=[one.name for one in asked.tools.config.connections],
        problem=problem,
        made=made,
        form=asked.form,
    )


async def users_post(asked: Asked) -> web.Response:
    """One form per act; `act` says which. What is wrong is said on the page, which keeps what was typed."""
    form, users, tools = asked.form, asked.console.users, asked.tools
    name = form.text("name")
    try:
        match form.text("act"):
            case "add":
                password = form.get("password", [""])[0]
                await add(
                    tools, users, name=name, role=_role(form.text("role")), connections=form.all("connections"), password=password or None,
                    by=asked.by,
                )  # fmt: skip
                said = f"{name} was added."
            case "change":
                _not_oneself(asked, name)
                await change(tools, users, name, role=_role(form.text("role")), connections=form.all("connections"), by=asked.by)
                said = f"{name} was changed."
            case "password":
                await set_password(tools, users, name, form.get("password", [""])[0], by=asked.by)
                said = f"{name} has another password, and is logged out everywhere."
            case "remove":
                _not_oneself(asked, name)
                await remove(tools, users, name, by=asked.by)
                said = f"{name} was removed, with all sessions and tokens."
            case "token":
                made = await create_token(tools, users, name, form.text("label"), days=_days(form.text("days")), by=asked.by)
                return await users_page(asked, made=made.text or "")
            case "revoke":
                gone = await revoke(tools, users, form.text("token"), by=asked.by)
                said = f"The token {gone.label!r} of {gone.user} was revoked."
            case _:
                raise ConfigError("say what to do", code="act")
    except ConfigError as error:
        return await users_page(asked, problem=error.message, status=400)
    return asked.go("/users", notice=said)


async def account_page(asked: Asked, *, problem: str = "", made: str = "", status: int = 200) -> web.Response:
    """One's own password and tokens."""
    assert asked.user is not None
    return asked.page(
        "account.html",
        status=status,
        tokens=[shown_token(token) for token in await asked.console.users.tokens(asked.by)],
        has_password=bool(asked.user.password),
        problem=problem,
        made=made,
        form=asked.form,
    )


async def account_post(asked: Asked) -> web.Response:
    form, users = asked.form, asked.console.users
    try:
        match form.text("act"):
            case "password":
                await _own_password(asked, form.get("current", [""])[0], form.get("password", [""])[0])
                return asked.go("/login", notice="Your password was changed. Log in with the new one.")
            case "token":
                made = await create_token(asked.tools, users, asked.by, form.text("label"), days=_days(form.text("days")), by=asked.by)
                return await account_page(asked, made=made.text or "")
            case "revoke":
                gone = await revoke(asked.tools, users, form.text("token"), by=asked.by, of=asked.by)
                return asked.go("/account", notice=f"The token {gone.label!r} was revoked.")
            case _:
                raise ConfigError("say what to do", code="act")
    except ConfigError as error:
        return await account_page(asked, problem=error.message, status=400)


async def _own_password(asked: Asked, current: str, new: str) -> None:
    """Who found a screen unlocked must not take the account over, nor guess the password there: it counts as a login."""
    address = f"session of {asked.by}"
    try:
        secret, _ = await asked.console.users.login(asked.by, current, address)
    except LoginRefused as refused:
        raise ConfigError(refused.message.replace("the name or the password", "your present password"), code="password") from None
    await asked.console.users.logout(secret)
    await set_password(asked.tools, asked.console.users, asked.by, new, by=asked.by)


def _role(text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    raise ConfigError(f"there is no role {text!r}; there are {', '.join(ROLES)}", code="role")


def _days(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise ConfigError("days: expected a whole number, or nothing for a token that lasts until it is revoked", code="days")
    return int(text)


ROUTES: Final = [
    Route("GET", "/users", users_page, role="admin", everywhere=True, cli="console list-users", nav="Users"),
    Route("POST", "/users", users_post, role="admin", everywhere=True, cli="console add-user"),
    Route("GET", "/account", account_page, role="viewer", cli="console token list"),
    Route("POST", "/account", account_post, role="viewer", cli="console set-password"),
    Route("GET", f"{API}/users", list_users, role="admin", everywhere=True, cli="console list-users", answer=UsersAnswer),
    Route(
        "POST",
        f"{API}/users",
        post_user,
        role="admin",
        everywhere=True,
        cli="console add-user",
        body=NewUser,
        answer=UserAnswer,
        status=201,
    ),
    Route(
        "PUT",
        f"{API}/users/{{name}}",
        put_user,
        role="admin",
        everywhere=True,
        cli="console change-user",
        body=ChangedUser,
        answer=UserAnswer,
    ),
    Route(
        "PUT",
        f"{API}/users/{{name}}/password",
        put_password,
        role="admin",
        everywhere=True,
        cli="console set-password",
        body=NewPassword,
        answer=UserAnswer,
    ),
    Route("DELETE", f"{API}/users/{{name}}", delete_user, role="admin", everywhere=True, cli="console remove-user", answer=UserAnswer),
    Route("GET", f"{API}/users/audit", list_acts, role="admin", everywhere=True, cli="console audit", answer=UserActsAnswer),
    Route("GET", f"{API}/tokens", list_tokens, role="admin", everywhere=True, cli="console token list", answer=TokensAnswer),
    Route(
        "POST",
        f"{API}/tokens",
        post_token,
        role="admin",
        everywhere=True,
        cli="console token create",
        body=NewToken,
        answer=TokenAnswer,
        status=201,
    ),
    Route("DELETE", f"{API}/tokens/{{id}}", delete_token, role="admin", everywhere=True, cli="console token revoke", answer=TokenAnswer),
]
