# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""A small reader of bbolt files, the format of etcd's database and of its snapshots.

Reads page by page with ``pread`` and never writes: memory stays small whatever the size of the file.
Knows nothing of etcd; ``_etcd_snapshot`` does.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

MAGIC = 0xED0CDAED
FORMAT = 2
_PAGE = struct.Struct("<QHHI")  # id, flags, count, overflow
# magic, version, page size, flags, root, sequence, freelist, high water, txid, checksum
_META = struct.Struct("<IIIIQQQQQQ")
_BRANCH = struct.Struct("<IIQ")  # position of the key, its size, page
_LEAF = struct.Struct("<IIII")  # flags, position of the key, sizes of key and value
_BUCKET = struct.Struct("<QQ")  # root page, sequence
_IS_BRANCH, _IS_LEAF, _IS_META, _IS_FREELIST = 0x01, 0x02, 0x04, 0x10
_LEAF_BUCKET = 0x01
_NO_FREELIST = 0xFFFFFFFFFFFFFFFF
_DEEPEST = 64


class BrokenFile(CareError):
    """The file is not a whole bbolt database."""


class Meta(NamedTuple):
    page_size: int
    root: int
    freelist: int
    high_water: int
    txid: int


@dataclass(frozen=True)
class Page:
    """A page with its overflow; ``data`` begins at the header. A small bucket's page inside a value has number 0."""

    number: int
    flags: int
    count: int
    data: bytes


def fnv1a(data: bytes) -> int:
    """The checksum of a meta page."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def parse_meta(page: bytes) -> Optional[Meta]:
    """The meta page at the beginning of ``page``, or None when it is not a valid one."""
    if len(page) < _PAGE.size + _META.size or not _PAGE.unpack_from(page)[1] & _IS_META:
        return None
    fields = _META.unpack_from(page, _PAGE.size)
    magic, version, page_size, _flags, root, _sequence, freelist, high_water, txid, checksum = fields
    if magic != MAGIC or version != FORMAT or page_size < 512 or page_size & (page_size - 1):
        return None
    if checksum != fnv1a(page[_PAGE.size : _PAGE.size + _META.size - 8]):
        return None
    return Meta(page_size, root, freelist, high_water, txid)


def looks_like_bolt(path: str) -> bool:
    """Whether the file begins as such a database does."""
    try:
        with open(path, "rb") as file:
            return parse_meta(file.read(512)) is not None
    except OSError:
        return False


# Told of each key and its value.
Visit = Callable[[bytes, bytes], None]
Visits = dict[bytes, Visit]
# Lowest key of a subtree, and the first key behind it; None where there is no such bound.
Bounds = tuple[Optional[bytes], Optional[bytes]]


class BoltFile:
    """An open database. Use as a context manager.

    :param size: bytes that belong to the database; what follows (a snapshot's digest) is not looked at.
    """

    def __init__(self, path: str, size: Optional[int] = None) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.size = os.fstat(self._file).st_size if size is None else size
            self.meta = self._newest_meta()
            if self.meta.high_water * self.meta.page_size > self.size:
                raise BrokenFile(
                    f"{path} is cut off: its database has {self.meta.high_water} pages of {self.meta.page_size} bytes, "
                    f"the file holds only {self.size} bytes."
                )
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> BoltFile:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._file)

    def _newest_meta(self) -> Meta:
        """The valid meta page of the newest transaction; the second one lies at a page size yet unknown."""
        found = [parse_meta(os.pread(self._file, 512, 0))]
        found += [parse_meta(os.pread(self._file, 512, 1 << shift)) for shift in range(9, 17)]
        valid = [meta for meta in found if meta]
        if not valid:
            raise BrokenFile(f"{self.path} is no etcd database or snapshot: neither of its two meta pages is valid.")
        return max(valid, key=lambda meta: meta.txid)

    def page(self, number: int) -> Page:
        """Read one page with its overflow, checked against what its place says."""
        if not 2 <= number < self.meta.high_water:
            raise self._broken(f"a page number {number} lies outside of its {self.meta.high_water} pages")
        size = self.meta.page_size
        data = os.pread(self._file, size, number * size)
        if len(data) < size:
            raise self._broken(f"page {number} cannot be read whole")
        own, flags, count, overflow = _PAGE.unpack_from(data)
        if own != number or flags not in (_IS_BRANCH, _IS_LEAF, _IS_FREELIST):
            raise self._broken(f"page {number} has a wrong header")
        if number + overflow >= self.meta.high_water:
            raise self._broken(f"page {number} runs beyond the end")
        if overflow:
            data = os.pread(self._file, size * (overflow + 1), number * size)
            if len(data) < size * (overflow + 1):
                raise self._broken(f"page {number} cannot be read whole")
        return Page(number, flags, count, data)

    def bucket(self, name: bytes) -> Optional[Bucket]:
        """A bucket of the top level by its name, or None."""
        for key, value in Bucket(self, self.meta.root, None).items(buckets=True):
            if key == name:
                return self._open_bucket(value)
        return None

    def _open_bucket(self, value: bytes) -> Bucket:
        if len(value) < _BUCKET.size:
            raise self._broken("a bucket's header is too short")
        root, _sequence = _BUCKET.unpack_from(value)
        return Bucket(self, root, value[_BUCKET.size :] if root == 0 else None)

    def check(self, into: Optional[bytes] = None, visit: Optional[Visit] = None) -> int:
        """Read every page in use and check the tree as a whole; return the number of pages in use.

        Every page lies where its header says, belongs to one tree only, and its keys are in order.

        :param visit: called on the way with every key and value of the top-level bucket ``into``, in order.
        """
        used = bytearray(self.meta.high_water)
        used[0] = used[1] = 1
        if self.meta.freelist != _NO_FREELIST:
            page = self.page(self.meta.freelist)
            if page.flags != _IS_FREELIST:
                raise self._broken("its list of free pages is not one")
            self._take(used, page)
        visits = {into: visit} if into is not None and visit else {}
        self._check_tree(used, self.meta.root, (None, None), 0, visits, None)
        return sum(used)

    def _check_tree(
        self, used: bytearray, number: int, bounds: Bounds, depth: int, visits: Visits, visit: Optional[Visit]
    ) -> None:
        if depth > _DEEPEST:
            raise self._broken("its tree is deeper than any real one")
        page = self.page(number)
        self._take(used, page)
        if page.flags == _IS_BRANCH:
            children = list(self.branches(page))
            if not children:
                raise self._broken(f"branch page {number} is empty")
            self._in_order(page, [key for key, _child in children], bounds)
            for index, (key, child) in enumerate(children):
                after = children[index + 1][0] if index + 1 < len(children) else bounds[1]
                self._check_tree(used, child, (key, after), depth + 1, visits, visit)
            return
        if page.flags != _IS_LEAF:
            raise self._broken(f"page {number} should be part of a tree")
        self._check_leaf(used, page, bounds, depth, visits, visit)

    def _check_leaf(
        self, used: bytearray, page: Page, bounds: Bounds, depth: int, visits: Visits, visit: Optional[Visit]
    ) -> None:
        keys = []
        for key, value, is_bucket in self.leaves(page):
            keys.append(key)
            if is_bucket:
                bucket = self._open_bucket(value)
                if bucket.inline is None:
                    self._check_tree(used, bucket.root, (None, None), depth + 1, {}, visits.get(key))
                else:
                    self._check_leaf(used, bucket.inline, (None, None), depth + 1, {}, visits.get(key))
            elif visit:
                visit(key, value)
        self._in_order(page, keys, bounds)

    def _in_order(self, page: Page, keys: list[bytes], bounds: Bounds) -> None:
        low, high = bounds
        if any(first >= second for first, second in zip(keys, keys[1:])):
            raise self._broken(f"the keys of page {page.number} are not in order")
        if keys and ((low is not None and keys[0] < low) or (high is not None and keys[-1] >= high)):
            raise self._broken(f"page {page.number} holds keys that belong elsewhere")

    def _take(self, used: bytearray, page: Page) -> None:
        last = page.number + len(page.data) // self.meta.page_size
        if any(used[page.number : last]):
            raise self._broken(f"page {page.number} is used twice")
        used[page.number : last] = b"\1" * (last - page.number)

    def branches(self, page: Page) -> Iterator[tuple[bytes, int]]:
        """First key and page number of every child."""
        self._room(page, _BRANCH.size)
        for index in range(page.count):
            at = _PAGE.size + index * _BRANCH.size
            position, key_size, child = _BRANCH.unpack_from(page.data, at)
            yield self._cut(page, at + position, key_size), child

    def leaves(self, page: Page) -> Iterator[tuple[bytes, bytes, bool]]:
        """Key, value and whether the value is a bucket, of every element."""
        self._room(page, _LEAF.size)
        data = page.data
        size = len(data)
        at = _PAGE.size
        for flags, position, key_size, value_size in _LEAF.iter_unpack(data[at : at + page.count * _LEAF.size]):
            key = at + position
            value = key + key_size
            end = value + value_size
            if end > size or flags > _LEAF_BUCKET:
                raise self._broken(f"page {page.number} has an element that is no element")
            yield data[key:value], data[value:end], flags == _LEAF_BUCKET
            at += _LEAF.size

    def _room(self, page: Page, element: int) -> None:
        if _PAGE.size + page.count * element > len(page.data):
            raise self._broken(f"page {page.number} counts more elements than it can hold")

    def _cut(self, page: Page, start: int, size: int) -> bytes:
        if start + size > len(page.data):
            raise self._broken(f"page {page.number} has an element that is no element")
        return page.data[start : start + size]

    def _broken(self, what: str) -> BrokenFile:
        return BrokenFile(f"{self.path} is damaged: {what}.")


class Bucket:
    """A bucket's keys and values, in order.

    :param inline: the page that a small bucket keeps inside its parent's value.
    """

    def __init__(self, file: BoltFile, root: int, inline: Optional[bytes]) -> None:
        self._file = file
        self.root = root
        self.inline: Optional[Page] = None
        if inline is not None:
            if len(inline) < _PAGE.size:
                raise BrokenFile(f"{file.path} is damaged: a small bucket is cut off.")
            _own, flags, count, _overflow = _PAGE.unpack_from(inline)
            self.inline = Page(0, flags, count, inline)

    def items(self, buckets: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values; nested buckets (their raw headers) instead when ``buckets`` is set."""
        for page in self._leaf_pages():
            for key, value, is_bucket in self._file.leaves(page):
                if is_bucket is buckets:
                    yield key, value

    def get(self, wanted: bytes) -> Optional[bytes]:
        """The value of one key; meant for small buckets."""
        for key, value in self.items():
            if key == wanted:
                return value
        return None

    def last_key(self) -> Optional[bytes]:
        """The greatest key, without reading the rest."""
        page = self.inline or self._file.page(self.root)
        for _level in range(_DEEPEST):
            if page.flags == _IS_LEAF:
                keys = [key for key, _value, _is_bucket in self._file.leaves(page)]
                return keys[-1] if keys else None
            children = list(self._file.branches(page))
            if not children:
                break
            page = self._file.page(children[-1][1])
        raise BrokenFile(f"{self._file.path} is damaged: a branch leads nowhere.")

    def _leaf_pages(self) -> Iterator[Page]:
        if self.inline is not None:
            yield self.inline
            return
        stack = [(self.root, 0)]
        while stack:
            number, depth = stack.pop()
            page = self._file.page(number)
            if page.flags == _IS_LEAF:
                yield page
            elif page.flags == _IS_BRANCH and depth < _DEEPEST:
                children = [child for _key, child in self._file.branches(page)]
                stack.extend((child, depth + 1) for child in reversed(children))
            else:
                raise BrokenFile(f"{self._file.path} is damaged: page {number} should be part of a tree.")
