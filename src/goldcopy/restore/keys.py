"""The keys that a backup needs: which ones, whether they are at hand, and how the recovering server gets them.

A server that recovers MySQL's files never sees the user's keyring: it is lent a copy, since it may write to it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from goldcopy.errors import BackupInvalid, KeyMissing, RecoveryFailed, Unsupported
from goldcopy.formats.delta import read_header
from goldcopy.formats.innodb.page import MYSQL_ENCRYPTED, geometry
from goldcopy.formats.keys import transition
from goldcopy.formats.keys.ring import INNODB_PREFIX, Key
from goldcopy.formats.keys.wrapped import REDO_INFO_AT, Wrapped, info_offset, wrapped_at
from goldcopy.image.chain import Image, Member, SpaceSource, stored_name
from goldcopy.image.manifest import KEYS_NAME, Server, Space
from goldcopy.server.keyring import COMPONENT, CONFIG_NAME, LentRing, installed, read_ring

_FILE_KEYRING = "keyring_file"
_NO_KEYRINGS = (_FILE_KEYRING, "keyring_udf")
_LIBRARY_HINT = "install it: pip install 'goldcopy[streams]'"


@dataclass(frozen=True, kw_only=True)
class KeyOptions:
    """Where the user says that the keys are. ``keyring``: a keyring file, or the component's configuration.

    ``phrase``: of the keys that travel in the backup. ``plugin_dir``: of the recovering server, "" = its own.
    ``found``: what all this led to when it was looked up, None = not yet (``looked_up``).
    """

    keyring: str = ""
    phrase: str = field(default="", repr=False)
    plugin_dir: str = ""
    found: tuple[Key, ...] | None = field(default=None, repr=False)


NO_KEYS = KeyOptions()


@dataclass(frozen=True)
class Lent:
    """The program to start, with further options."""

    program: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """A place with keys. ``name``: as the user knows it."""

    name: str
    keys: tuple[Key, ...]


# -- what is needed ------------------------------------------------------------------------------------------------


def needed(image: Image) -> tuple[Wrapped, ...]:
    """What was encrypted with MySQL's master keys in this restore point: one for each key, and tablespace or redo."""
    found = [wrapped_at(bytes.fromhex(image.newest.redo.encryption), REDO_INFO_AT)]
    found += [_of_space(image.source(space)) for space in image.newest.spaces if space.flags & MYSQL_ENCRYPTED]
    by_name: dict[str, Wrapped] = {}
    for wrapped in filter(None, found):
        by_name.setdefault(wrapped.name, wrapped)
    return tuple(by_name.values())


def _of_space(source: SpaceSource) -> Wrapped | None:
    page0 = newest_page0(source)
    if len(page0) < source.space.page_size:
        return None
    try:
        shape = geometry(page0, "mysql")
    except ValueError:
        return None
    return wrapped_at(page0, info_offset(shape.page_size, shape.logical_size))


def newest_page0(source: SpaceSource) -> bytes:
    """Page 0 as the chain has it, or b"" where its file is not there (a partial backup) or it was never written.

    Raises BackupInvalid for a delta that is damaged.
    """
    for member, space in reversed(source.deltas):
        head = _read(member, space, 0)
        if head and _begins_with_page_0(head, member, space):
            return _read(member, space, space.page_size)
    return _read(*source.whole, 0) if source.whole is not None else b""


def _begins_with_page_0(head: bytes, member: Member, space: Space) -> bool:
    try:
        return read_header(head, space.page_size)[0][:1] == [0]
    except ValueError as e:
        raise BackupInvalid(f"{member.directory}/{stored_name(space)}: not a delta file: {e}") from e


def _read(member: Member, space: Space, offset: int) -> bytes:
    try:
        with open(os.path.join(member.directory, stored_name(space)), "rb") as f:
            f.seek(offset)
            return f.read(space.page_size)
    except FileNotFoundError:
        return b""


def _names(image: Image, wanted: Sequence[Wrapped]) -> set[str]:
    """Names of the keys that must be there. Redo may be about the newest one although no page has it yet."""
    names = {w.name for w in wanted}
    return names | {image.newest.master_key} if names and image.newest.master_key else names


# -- whether it is there -------------------------------------------------------------------------------------------


def looked_up(image: Image, options: KeyOptions, binary: str) -> KeyOptions:
    """The options with the keys: page 0 of every encrypted tablespace is read for them, once.

    Raises KeyMissing unless every master key that this restore point needs is at hand, and is the right one.
    """
    return replace(options, found=keys_of(image, options, binary))


def keys_of(image: Image, options: KeyOptions, binary: str) -> tuple[Key, ...]:
    """The keys for a server that recovers this: all of the keyring that has what is needed, () where nothing is.

    Also () where only the server's own software can reach the keys: then the server finds them, or says so.
    """
    if options.found is not None:
        return options.found
    wanted = needed(image) if image.newest.server.family == "mysql" else ()
    given = options.keyring or options.phrase
    if not given and _elsewhere(image.newest.server):
        return ()
    if not wanted:
        return _at_hand(image, options, binary)
    objections = []
    for place in _places(image, options, binary):
        try:
            found = place()
            _refuse_unfit(found, image, wanted)
        except KeyMissing as e:
            objections.append(e.message)
        else:
            return found.keys
    raise KeyMissing(
        f"the backup is encrypted and needs the key {max(_names(image, wanted))}: "
        + ("; ".join(dict.fromkeys(objections)) or "nothing tells where the source's keyring is"),
        hint="name a keyring that has it, of the time of the backup or later: --keyring FILE (xtrabackup:"
        " --keyring-file-data or --component-keyring-config, or --transition-key); nothing was changed yet",
    )


def _at_hand(image: Image, options: KeyOptions, binary: str) -> tuple[Key, ...]:
    """The keys of a server whose pages need none. Its redo may: a new table's page 0 is written some time later."""
    for place in _places(image, options, binary) if image.newest.master_key else ():
        with contextlib.suppress(KeyMissing):
            found = place()
            if image.newest.master_key in {k.name for k in found.keys}:
                return found.keys
    return ()


def _refuse_unfit(found: _Found, image: Image, wanted: Sequence[Wrapped]) -> None:
    secrets = {k.name: k.secret for k in found.keys}
    missing = sorted(_names(image, wanted) - set(secrets))
    if missing:
        raise KeyMissing(f"{found.name} does not have the key {missing[0]}")
    try:
        wrong = [w.name for w in wanted if not w.opened_by(secrets[w.name])]
    except ImportError as e:
        raise Unsupported("encrypted backups need a Python library that is not here (cryptography)",
                          hint=_LIBRARY_HINT) from e
    if wrong:
        raise KeyMissing(f"in {found.name} the key {wrong[0]} is another one than the backup was encrypted with")


def _elsewhere(server: Server) -> bool:
    """Whether the source had its keys where only its own software can read them."""
    component = server.variables.get("keyring_component_name", COMPONENT)
    plugins = (p.partition("=")[0].lower() for p in server.plugins)
    return component != COMPONENT or any(p.startswith("keyring_") and p not in _NO_KEYRINGS for p in plugins)


def _places(image: Image, options: KeyOptions, binary: str) -> Iterator[Callable[[], _Found]]:
    """Where to look, in order: what the user names, and nothing else; else where the source had it, then where the
    recovering server's configuration has it."""
    if options.phrase:
        yield lambda: _sealed(image.directory, options.phrase)
        return
    if options.keyring:
        yield lambda: _in_file(options.keyring, os.path.dirname(options.keyring))
        return
    variables = image.newest.server.variables
    for name in ("keyring_file_data", "keyring_data_file"):
        if path := variables.get(name, ""):
            yield lambda path=path: _in_file(os.path.join(image.newest.server.datadir, path))  # type: ignore[misc]
    configuration = os.path.join(installed(binary, options.plugin_dir).plugin_dir, CONFIG_NAME)
    if os.path.exists(configuration):
        yield lambda: _in_file(configuration, image.newest.server.datadir)


def _in_file(path: str, home: str = "") -> _Found:
    ring = read_ring(path, home)
    return _Found(ring.path, ring.keys)


def _sealed(directory: str, phrase: str) -> _Found:
    path = os.path.join(directory, KEYS_NAME)
    try:
        with open(path, "rb") as f:
            return _Found(path, transition.unseal(f.read(), phrase))
    except FileNotFoundError:
        raise KeyMissing(f"{directory} has no keys of its own: it was taken without --transition-key") from None
    except ValueError as e:
        raise KeyMissing(f"{path}: {e}") from e
    except ImportError as e:
        raise Unsupported("--transition-key needs a Python library that is not here (cryptography)",
                          hint=_LIBRARY_HINT) from e


# -- how the server gets it ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def lent(image: Image, options: KeyOptions, binary: str, datadir: str) -> Iterator[Lent]:
    """What to start instead of ``binary`` so that it has the keys of this restore point.

    Raises RecoveryFailed when the server made a master key: what it encrypted could never be read again.
    """
    keys = keys_of(image, options, binary)
    if not keys:
        yield Lent(binary)
        return
    with LentRing(installed(binary, options.plugin_dir), keys, datadir) as ring:
        yield Lent(ring.program, ring.options)
        made = [k.name for k in ring.made() if k.name.startswith(INNODB_PREFIX)]
        if made:
            raise RecoveryFailed(f"the recovering server made a master key of its own ({made[0]})")


def named_in(extra: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """A keyring that server options name, and the options without it."""
    keyring, rest = "", []
    for option in extra:
        name, _, value = option.lstrip("-").partition("=")
        name = name.replace("_", "-").removeprefix("loose-")
        if name == "keyring-file-data":
            keyring = value
        elif not (name == "early-plugin-load" and value.startswith(_FILE_KEYRING)):
            rest.append(option)
    return keyring, tuple(rest)
