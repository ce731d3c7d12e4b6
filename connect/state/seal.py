"""What holds bank data lies in Redis encrypted: AES-GCM, or AES-SIV where it is compared, under keys derived from a secret of the
configuration. That is dead letters, rows on their way to Prime, and bank accounts that suppliers are joined with.

Who can read Redis, a backup or its append-only file reads no bank account there. Whoever changes the secret cannot open what is older
any more; letters stay, and a replay reads its row anew; runs start anew.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Sealed = Literal["bank", "all", "none"]
BANK_KINDS: Final = ("Supplier", "SupplierBankAccount", "Payment")
LOST: Final = b'{"sealed":"it was encrypted under another secret (SageClientSecret has changed) and cannot be read any more"}'
_MARK: Final = b"sealed1:"
_ALIKE: Final = b"sealed2:"
_TEXT: Final = "sealed3:"
_NONCE_BYTES: Final = 12


class Seal:
    """Seals payloads of one connection. `what`: "bank" (the kinds that hold bank data), "all" or "none"; what is sealed opens always."""

    def __init__(self, secret: str, sid: str, what: Sealed = "bank") -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"connect dead letters {sid}".encode()).derive(secret.encode())
        self._cipher = AESGCM(derived)
        alike = HKDF(algorithm=SHA256(), length=64, salt=None, info=f"connect joined rows {sid}".encode()).derive(secret.encode())
        self._alike = AESSIV(alike)
        self._what = what
        self._earlier: Seal | None = None

    def follow(self, earlier: Seal) -> None:
        """What was sealed under the secret before this one opens too, as long as this process lives."""
        self._earlier = earlier

    def wants(self, kind: str) -> bool:
        """Whether what is of this kind is kept encrypted."""
        return self._what == "all" or (self._what == "bank" and kind in BANK_KINDS)

    def close(self, payload: bytes, kind: str, letter_id: str) -> bytes:
        """A payload as it is kept. It opens in the letter it was sealed for only."""
        if not self.wants(kind) or payload.startswith(_MARK):
            return payload
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _MARK + nonce + self._cipher.encrypt(nonce, payload, letter_id.encode())

    def open(self, kept: bytes, letter_id: str) -> bytes:
        """The payload; LOST when the secret is another one."""
        if not kept.startswith(_MARK):
            return kept
        nonce, text = kept[len(_MARK) :][:_NONCE_BYTES], kept[len(_MARK) + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, text, letter_id.encode())
        except InvalidTag:
            return LOST if self._earlier is None else self._earlier.open(kept, letter_id)

    def close_alike(self, value: bytes, place: str) -> bytes:
        """A value that is compared with what was kept before: the same bytes for the same value at the same place."""
        return value if self._what == "none" else _ALIKE + self._alike.encrypt(value, [place.encode()])

    def open_alike(self, kept: bytes, place: str) -> bytes:
        """The value; empty when the secret is another one."""
        if not kept.startswith(_ALIKE):
            return kept
        try:
            return self._alike.decrypt(kept[len(_ALIKE) :], [place.encode()])
        except InvalidTag:
            return b"" if self._earlier is None else self._earlier.open_alike(kept, place)

    def close_text(self, text: str, kind: str) -> str:
        """A text beside a row, where the row's kind holds bank data; alike for the same text."""
        if not text or kind not in BANK_KINDS or self._what == "none":
            return text
        return _TEXT + base64.b64encode(self._alike.encrypt(text.encode(), [kind.encode()])).decode()

    def open_text(self, kept: str, kind: str) -> str:
        """The text; empty when the secret is another one."""
        if not kept.startswith(_TEXT):
            return kept
        try:
            return self._alike.decrypt(base64.b64decode(kept[len(_TEXT) :]), [kind.encode()]).decode()
        except InvalidTag:
            return "" if self._earlier is None else self._earlier.open_text(kept, kind)


def is_sealed(parts: Sequence[bytes | memoryview]) -> bool:
    """Whether these parts are one sealed whole."""
    return len(parts) == 1 and bytes(parts[0][: len(_MARK)]) == _MARK
