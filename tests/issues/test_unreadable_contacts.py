# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Contacts that a delivery can't read, or not for now: encrypted, compressed, no text at all."""

import pytest
from harness.config import by_dialect, locked_config, plugins, settings
from harness.contacts import HEADERS, SENDER, add, block, fetch_headers, hash_of, where_each
from harness.contacts_index import UNREAD, index_of, read_header, read_records, write_records
from harness.imap import Literal
from harness.push import eventually

pytestmark = pytest.mark.private

FORMATS = ["maildir", "sdbox", "mdbox"]
UNREADABLE = "Can't read the contact with UID"


def find_contacts(server, user):
    with server.imap(user) as client:
        client.must(f'EXAMINE "{server.contacts}"')
        return client.must("SEARCH HEADER Chat-Content contact").untagged


def pauses(server, user):
    """When those that couldn't be read are read again, by UID."""
    records = read_records(index_of(server, user))
    assert {record.hash for record in records} == {UNREAD}
    return {record.uid: record.date for record in records}


def shorten_pauses(server, user):
    """By another time for each: whatever is read has its whole pause again."""
    index = index_of(server, user)
    times = {uid: time - 1000 + 100 * uid for uid, time in pauses(server, user).items()}
    write_records(
        index, [record._replace(date=times[record.uid]) for record in read_records(index)]
    )
    return times


def end_pause(server, user):
    """Has the next delivery read again what couldn't be read."""
    index = index_of(server, user)
    first, *others = read_records(index)
    write_records(index, [first._replace(date=1), *others])


@pytest.fixture(params=FORMATS)
def locked(request, fresh_server, log):
    """A server, and a user whose mail only IMAP can decrypt."""
    log.expect("mail_crypt|[Dd]ecrypt|[Pp]rivate key|" + UNREADABLE)
    before, after, given = locked_config()
    server = fresh_server(mail_format=request.param, before=before, after=after)
    user = server.new_user()
    command = ("mailbox", "cryptokey", "generate", "-u", user, "-U", "-f")
    result = server.run("doveadm", "-o", given, *command)
    assert result.returncode == 0, result
    return server, server.coi_user("active", name=user)


def test_BLK_1_a_delivery_that_cannot_decrypt_contacts_spoilt_the_cache(locked, log):
    server, user = locked
    for address in (SENDER, "other@example.org"):
        block(server, user, address)
    assert where_each(server, user, "a", "b", "c") == ["INBOX"] * 3
    # said once, and not at each delivery
    eventually(lambda: log.count(server, UNREADABLE) == 1, "it is logged")
    assert log.count(server, "Error: ") == 0
    assert find_contacts(server, user) == [b"* SEARCH 1 2"]
    assert fetch_headers(server, user).count(b"COI-Blocked: yes") == 2
    # Now Dovecot's cache knows them.
    assert where_each(server, user, "d", "e") == [server.folder("Blocked")] * 2
    assert read_header(index_of(server, user)).count == 2
    eventually(lambda: log.count(server, UNREADABLE) == 1, "it is logged")


def test_BLK_4_locked_contacts_whose_Date_no_client_has_asked_for(locked):
    server, user = locked
    block(server, user)
    fetch_headers(server, user, HEADERS.replace(" DATE", ""))
    assert where_each(server, user, "blocked") == [server.folder("Blocked")]
    date = "Date: Sun, 05 Jan 2025 10:00:00 +0000"
    add(server, user, "Chat-Content: contact", date, f"COI-From-Hash: {hash_of(SENDER)}")
    fetch_headers(server, user, HEADERS.replace(" DATE", ""))
    assert where_each(server, user, "not blocked") == ["INBOX"]


def test_BLK_5_each_delivery_read_the_contacts_that_it_cannot_decrypt(locked, log):
    server, user = locked
    for number in range(3):
        block(server, user, f"{number}@example.org")
    where_each(server, user, *"abc")
    before = shorten_pauses(server, user)
    assert list(before) == [1, 2, 3]
    # What is new is read, the others aren't.
    block(server, user)
    where_each(server, user, *"def")
    after = pauses(server, user)
    assert {**after, **before} == after
    assert set(after) == {1, 2, 3, 4}
    end_pause(server, user)
    where_each(server, user, *"ghi")
    changed = {uid for uid, time in pauses(server, user).items() if time != after[uid]}
    assert changed == {1}
    eventually(lambda: log.count(server, UNREADABLE) == 3, "it is logged")
    assert find_contacts(server, user) == [b"* SEARCH 1 2 3 4"]


def zlib_config(protocol):
    return plugins(by_dialect(v2_3="zlib", v2_4="mail_compress"), protocol=protocol) + by_dialect(
        v2_3=settings(zlib_save="gz"), v2_4="mail_compress_write_method = gz\n"
    )


@pytest.mark.parametrize("mail_format", FORMATS)
def test_BLK_1_a_delivery_that_cannot_decompress_contacts_spoilt_the_cache(
    fresh_server, log, mail_format
):
    log.expect(UNREADABLE)
    server = fresh_server(mail_format=mail_format, after=zlib_config("imap"))
    user = server.coi_user("active")
    for address in (SENDER, "other@example.org"):
        block(server, user, address)
    assert where_each(server, user, "a", "b") == ["INBOX"] * 2
    eventually(lambda: log.count(server, UNREADABLE) == 1, "it is logged")
    assert find_contacts(server, user) == [b"* SEARCH 1 2"]
    assert fetch_headers(server, user).count(b"COI-Blocked: yes") == 2
    assert where_each(server, user, "c", "d") == [server.folder("Blocked")] * 2


@pytest.mark.parametrize("mail_format", FORMATS)
def test_BLK_1_contacts_can_be_compressed(fresh_server, mail_format):
    server = fresh_server(mail_format=mail_format, after=zlib_config(None))
    user = server.coi_user("active")
    block(server, user)
    assert where_each(server, user, "a", "b") == [server.folder("Blocked")] * 2


@pytest.mark.parametrize(
    "text", ["", "no header", "=?no?header?=\nChat-Content", "\u00fc\n", "From x\nSubject: y\n"]
)
def test_BLK_1_a_text_is_no_contact_and_not_unreadable(make_server, text):
    server = make_server()
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must(f'APPEND "{server.contacts}" ', Literal(text.encode() or b"\n"))
    block(server, user)
    assert where_each(server, user, "a", "b") == [server.folder("Blocked")] * 2
    assert read_header(index_of(server, user)).count == 1


@pytest.mark.parametrize("mail_format", FORMATS)
def test_BLK_5_what_can_be_read_again_counts_after_a_pause(make_server, log, mail_format):
    log.expect(UNREADABLE + "|dbox|Corrupted|EOF|[Rr]ebuild")
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    gibberish = b"\x1f\x8b\x08\x00" + bytes(range(14, 256)) * 3
    with server.imap(user) as client:
        client.must(f'APPEND "{server.contacts}" ', Literal(gibberish.replace(b"\0", b"\1")))
    block(server, user)
    assert where_each(server, user, "a") == [server.folder("Blocked")]
    first, _ = read_records(index_of(server, user))
    assert first.hash == UNREAD
    end_pause(server, user)
    assert where_each(server, user, "b", "c") == [server.folder("Blocked")] * 2
    eventually(lambda: log.count(server, UNREADABLE) == 2, "it is logged")
    with server.imap(user) as client:
        client.must(f'SELECT "{server.contacts}"')
        client.store("1", "+FLAGS", "\\Deleted")
        client.must("EXPUNGE")
    where_each(server, user, "d")
    assert read_header(index_of(server, user)).count == 1


def test_BLK_5_a_clock_that_was_wrong_makes_no_long_pause(make_server, log):
    log.expect(UNREADABLE)
    server = make_server()
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must(f'APPEND "{server.contacts}" ', Literal(b"\x1f\x8b\x08\x01" * 9 + b"\n"))
    where_each(server, user, "a")
    index = index_of(server, user)
    (then,) = read_records(index)
    write_records(index, [then._replace(date=then.date + 365 * 86400)])
    where_each(server, user, "b")
    (now,) = read_records(index)
    assert 0 <= now.date - then.date < 86400
