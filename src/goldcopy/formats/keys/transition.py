"""Master keys that travel in a backup, encrypted with a pass phrase.

    8   magic ``GCKEYS01``
    16  salt
    12  nonce
    n   AES-256-GCM of the keys as component_keyring_file keeps them; magic and salt are authenticated

The AES key is scrypt(pass phrase, salt, N=2^15, r=8, p=1). XtraBackup's ``xtrabackup_keys`` holds the keys of
tablespaces instead, which only its own recovery can use: a server's takes master keys.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from goldcopy.formats.keys.ring import Key, component_ring, parse_ring

MAGIC = b"GCKEYS01"
_SALT_BYTES, _NONCE_BYTES = 16, 12
_HEAD_BYTES = len(MAGIC) + _SALT_BYTES


def seal(keys: Iterable[Key], phrase: str) -> bytes:
    """The keys under a pass phrase. Raises ImportError without ``cryptography``."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head = MAGIC + os.urandom(_SALT_BYTES)
    nonce = os.urandom(_NONCE_BYTES)
    return head + nonce + AESGCM(_derived(phrase, head)).encrypt(nonce, component_ring(keys), head)


def unseal(data: bytes, phrase: str) -> tuple[Key, ...]:
    """The keys. Raises ValueError for another pass phrase or damaged data, ImportError without ``cryptography``."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head, rest = data[:_HEAD_BYTES], data[_HEAD_BYTES:]
    if not head.startswith(MAGIC):
        raise ValueError("not a file of sealed keys that this program knows")
    try:
        plain = AESGCM(_derived(phrase, head)).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], head)
    except (InvalidTag, ValueError) as e:
        raise ValueError("the pass phrase is another one, or the file is damaged") from e
    return parse_ring(plain)


def _derived(phrase: str, head: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=head[len(MAGIC) :], length=32, n=1 << 15, r=8, p=1).derive(phrase.encode())
