# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Contacts that can't be read kept a delivery busy for half a minute, each hour.

The header of a contact has a limit, and so has their number, but 60,000 with 60 KB each
are some gigabytes. Each delivery that began before one had finished read all of them, and
so did the first one of each hour.
"""

import os
import struct

import pytest
from harness.mails import mail
from harness.server import MAIL_UID
from test_second_review import block

COUNT = 2000
HEADER = struct.Struct("<4sIIIIQQqI")
RECORD = struct.Struct("<32sqII")


def read_index(path):
    data = path.read_bytes()
    return HEADER.unpack_from(data)[3], list(RECORD.iter_unpack(data[HEADER.size :]))


def make_due(path):
    data = path.read_bytes()
    records = [
        (what, 1, uid, flags) if what == bytes(32) else (what, date, uid, flags)
        for what, date, uid, flags in read_index(path)[1]
    ]
    path.write_bytes(data[: HEADER.size] + b"".join(RECORD.pack(*record) for record in records))


def unread(path):
    """How many contacts are due at once, and how many after a pause."""
    dates = [date for what, date, _, _ in read_index(path)[1] if what == bytes(32)]
    return sum(date == 1 for date in dates), sum(date > 1 for date in dates)


@pytest.mark.private
def test_BLK_1_a_delivery_reads_some_megabytes_of_contacts(make_server, log):
    log.expect("coi: Can't read the contact with UID")
    server = make_server()
    user = server.coi_user()
    folder = server.home(user) / "maildir" / ".COI.Contacts"
    first = folder / "cur" / "1000000000.M1P1.test:2,S"
    first.write_bytes(b"\x01: x\n" + b"X: y\n" * 12_000 + b"\n")
    os.chown(first, MAIL_UID, MAIL_UID)
    for number in range(2, COUNT + 1):
        os.link(first, folder / "cur" / f"1000000000.M{number}P1.test:2,S")
    with server.imap(user) as client:
        client.must(f'SELECT "{server.contacts}"')
    block(server, user)

    index = folder / "dovecot-coi.contacts"
    server.deliver("lmtp", user, mail("first"))
    uidnext, records = read_index(index)
    assert COUNT / 4 < uidnext < COUNT and len(records) == uidnext - 1
    log_state = HEADER.unpack_from(index.read_bytes())[5:8]
    assert log_state == (0, 0, 0), "a log that doesn't change lets none go on"
    server.deliver("lmtp", user, mail("second"))
    server.deliver("lmtp", user, mail("third"))
    assert read_index(index)[0] == COUNT + 2 and unread(index) == (0, COUNT)
    # They don't keep out the one that can be read.
    with server.imap(user) as client:
        assert client.subjects("INBOX") == ["first"]
        assert client.subjects("Blocked") == ["second", "third"]

    make_due(index)
    server.deliver("lmtp", user, mail("fourth"))
    due, paused = unread(index)
    assert COUNT / 4 < paused < COUNT and due + paused == COUNT
    server.deliver("lmtp", user, mail("fifth"))
    assert unread(index) == (0, COUNT)
    with server.imap(user) as client:
        assert client.subjects("Blocked") == ["fifth", "fourth", "second", "third"]
