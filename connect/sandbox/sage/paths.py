"""Dotted field names of queries: what they mean, and how a row answers them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from connect.sandbox.sage.schema import Field, Kind, Spec, spec_of, specs, user_defined
from connect.sandbox.sage.store import Row, Store

ValueKind = Literal["key"] | Kind
Getter = Callable[[Row, int], Any]
REF_PARTS: Final = ("key", "id", "name", "href")
_TEXT: Final = Field("", "text")


@dataclass(frozen=True, slots=True)
class Access:
    """What one field name reads.

    `how`: the row's own key or href, a stored value, a part of a reference, or a field of the record referred to.
    """

    path: str
    how: Literal["key", "href", "value", "part", "extra"]
    field: Field = _TEXT
    part: str = ""
    inner: Access | None = None  # of extra: the field there

    @property
    def kind(self) -> ValueKind:
        """What its values are, for comparing."""
        if self.how == "key" or (self.how == "part" and self.part == "key" and self.field.target):
            return "key"
        if self.how == "extra" and self.inner is not None:
            return self.inner.kind
        return self.field.kind if self.how == "value" else "text"

    @property
    def is_deprecated(self) -> bool:
        """A contact's field, read through a reference to it (sage-rest.md f, Supplier)."""
        return self.how == "extra" and self.field.target == "company-config/contact"


def resolve(spec: Spec, path: str) -> Access:
    """Raises LookupError when the object has no such field, or it cannot be queried (lists, write-only fields)."""
    if path == "key":
        return Access(path, "key")
    if path == "href":
        return Access(path, "href")
    if path == "id":
        return Access(path, "key" if spec.id_kind == "key" else "value", replace(_TEXT, path="id"))
    found = spec.fields.get(path) or user_defined(spec, path)
    if found is not None and found.kind not in ("ref", "owned", "list") and not found.write_only:
        return Access(path, "value", found)
    prefix, _, rest = path.rpartition(".")
    while prefix:
        ref = spec.fields.get(prefix) or user_defined(spec, prefix)
        if ref is not None and ref.kind == "ref":
            return _through(spec, ref, path, rest)
        prefix, _, more = prefix.rpartition(".")
        rest = f"{more}.{rest}"
    raise LookupError(path)


def _through(spec: Spec, ref: Field, path: str, rest: str) -> Access:
    target = spec_of(ref.target) if ref.target else None
    if rest in REF_PARTS and (rest != "name" or target is None or target.has_name):
        return Access(path, "part", ref, rest)
    source = dict(ref.extras).get(rest)
    if source is None and _is_owner(spec.name, ref):
        source = rest  # from a line upwards every field of its owner can be read
    if source is None or target is None:
        raise LookupError(path)
    return Access(path, "extra", ref, source, resolve(target, source))


def _is_owner(name: str, ref: Field) -> bool:
    owner = specs().get(ref.target)
    return owner is not None and any(owned.child == name and owned.parent == ref.path for owned in owner.owned())


def ref_key(row: Row, ref: Field) -> str | None:
    """The key that a reference holds."""
    found: str | None = row.get(f"{ref.path}.key", ref.default)
    return found


def ref_part(store: Store, row: Row, ref: Field, part: str) -> Any:
    """key, id, name or href of a reference."""
    if not ref.target:
        return row.get(f"{ref.path}.{part}")
    key = ref_key(row, ref)
    if key is None or part == "key":
        return key
    if part == "href":
        return f"/objects/{ref.target}/{key}"
    if part == "id":
        if ref.id_is_key:
            return key
        given = row.get(f"{ref.path}.id")  # written as number--title: Sage shows it so
        if given is not None:
            return given
    label = store.table(ref.target).label(int(key))
    return None if label is None else label[0 if part == "id" else 1]


def getter(store: Store, spec: Spec, access: Access) -> Getter:
    """A function that reads this field of a row."""
    ref, path = access.field, access.path
    if access.how == "key":
        return lambda _row, key: str(key)
    if access.how == "href":
        return lambda _row, key: f"/objects/{spec.name}/{key}"
    if access.how == "value":
        default = ref.default
        return lambda row, _key: row.get(path, default)
    if access.how == "part":
        part = access.part
        return lambda row, _key: ref_part(store, row, ref, part)
    assert access.inner is not None
    target = store.table(ref.target)
    inner = getter(store, target.spec, access.inner)

    def there(row: Row, _key: int) -> Any:
        key = ref_key(row, ref)
        other = None if key is None else target.get(int(key))
        return None if key is None or other is None else inner(other, int(key))

    return there
