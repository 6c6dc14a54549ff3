"""Privileges, checked before anything starts: what is missing is answered with the exact GRANT."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set

import msgspec

from goldcopy.dialect.privileges import Feature, Need
from goldcopy.errors import GoldcopyError, PrivilegeMissing
from goldcopy.server.instance import Instance
from goldcopy.server.position import is_replica
from goldcopy.server.session import Session

_NAME = r"(?:`(?:[^`]|``)*`|'[^']*'|[\w$%.-]+)"
_GRANT = re.compile(
    rf"GRANT (?P<privileges>.+?) ON (?:TABLE )?(?P<scope>(?:\*|{_NAME})\.(?:\*|{_NAME})) TO ", re.IGNORECASE | re.DOTALL
)
_ALL = frozenset({"ALL", "ALL PRIVILEGES"})


class Grant(msgspec.Struct, frozen=True):
    """Privileges on one scope: ``*.*``, ``schema.*`` or ``schema.table``."""

    privileges: frozenset[str]
    scope: str


def parse_grants(lines: Iterable[str]) -> list[Grant]:
    """Read the lines of SHOW GRANTS; grants of roles and proxies are passed over."""
    grants = []
    for line in lines:
        found = _GRANT.match(line)
        if found is None:
            continue
        listed = re.sub(r"\([^)]*\)", "", found["privileges"])
        privileges = frozenset(p.strip().upper() for p in listed.split(","))
        grants.append(Grant(privileges, _unquoted(found["scope"])))
    return grants


def _unquoted(scope: str) -> str:
    return re.sub(r"[`']", "", scope).replace("\\_", "_")


def missing(grants: Sequence[Grant], needs: Iterable[Need]) -> list[Need]:
    """Which needs the grants do not meet."""
    return [n for n in needs if not any(_meets(g, n) for g in grants)]


def _meets(grant: Grant, need: Need) -> bool:
    if not _covers(grant.scope.lower(), need.scope.lower()):
        return False
    return bool(grant.privileges & _ALL) or any(p in grant.privileges for p in need.any_of)


def _covers(granted: str, wanted: str) -> bool:
    if granted in ("*.*", wanted):
        return True
    schema, _, table = granted.partition(".")
    return table == "*" and schema == wanted.partition(".")[0]


def grant_hint(needs: Iterable[Need], account: str) -> str:
    """The statements that give what is missing, one per scope."""
    by_scope: dict[str, list[str]] = {}
    for need in needs:
        by_scope.setdefault(need.scope, []).append(need.any_of[0])
    user, _, host = account.rpartition("@")
    return " ".join(f"GRANT {', '.join(names)} ON {scope} TO '{user}'@'{host}';" for scope, names in by_scope.items())


def check(instance: Instance, *, replica: bool = False, kill: bool = False) -> None:
    """Raise PrivilegeMissing, with the exact GRANT, unless the account may do what the features need.

    ``replica``: stop the SQL thread; reading its position is for every backup of a replica. ``kill``: end long
    queries.
    """
    features: set[Feature] = {"backup", "binlog"}
    if replica:
        features |= {"replica", "replica-position"}
    features |= {"kill"} if kill else set()
    lacking, _ = lacking_for(instance, features)
    if not lacking and is_replica(instance):
        lacking, _ = lacking_for(instance, {"replica-position"})
    if lacking:
        account = str(instance.session.value("SELECT CURRENT_USER()"))
        raise PrivilegeMissing(
            f"the account {account} lacks " + "; ".join(f"{n.any_of[0]} (for {n.why})" for n in lacking),
            hint=grant_hint(lacking, account),
        )


def lacking_for(instance: Instance, features: Set[Feature]) -> tuple[list[Need], list[str]]:
    """What the account lacks for these features, and what SHOW GRANTS says it has."""
    grants = _show_grants(instance.session)
    needs = [n for n in instance.dialect.needs if n.feature in features]
    return missing(parse_grants(grants), needs), grants


def _show_grants(session: Session) -> list[str]:
    """What the account may do, by itself and by its active roles."""
    try:
        roles = str(session.value("SELECT CURRENT_ROLE()") or "NONE")
    except GoldcopyError:
        roles = "NONE"  # a server without roles
    lines = [str(r[0]) for r in session.rows("SHOW GRANTS")]
    if roles.upper() != "NONE":
        for using in (f"SHOW GRANTS FOR CURRENT_USER() USING {roles}", f"SHOW GRANTS FOR {roles}"):
            try:
                lines += [str(r[0]) for r in session.rows(using)]
            except GoldcopyError:
                continue  # each family knows one of the two
    return lines
