# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Reads and writes the file dovecot-coi.contacts (docs/contacts-index.md)."""

import struct
from typing import NamedTuple

_HEADER = struct.Struct("<4sIIIIQQqI")
_RECORD = struct.Struct("<32sqII")

# The hash of a mail that couldn't be read.
UNREAD = bytes(32)


class Header(NamedTuple):
    magic: bytes
    version: int
    uidvalidity: int
    uidnext: int
    messages: int
    log_inode: int
    log_size: int
    log_changed: int
    count: int

    @property
    def log(self):
        return self.log_inode, self.log_size, self.log_changed


class Record(NamedTuple):
    hash: bytes
    date: int
    uid: int
    flags: int


def index_of(server, user):
    return next(server.home(user).rglob("dovecot-coi.contacts"))


def read_header(path):
    return Header(*_HEADER.unpack_from(path.read_bytes()))


def read_records(path):
    return [Record(*fields) for fields in _RECORD.iter_unpack(path.read_bytes()[_HEADER.size :])]


def write_records(path, records, **head):
    head = read_header(path)._replace(count=len(records), **head)
    path.write_bytes(_HEADER.pack(*head) + b"".join(_RECORD.pack(*record) for record in records))
