# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""How often a delivery opens the file with the user's metadata, and looks at it, be it there
or not: of Dovecot's file dict each question may take that. A number that has gone down is to
be written down here."""

from collections import Counter

import pytest
from harness.config import faults
from harness.mails import chat, mail
from harness.server import ROOT

# It preloads a library of its own.
pytestmark = [pytest.mark.private, pytest.mark.uninstrumented]


@pytest.fixture
def notes(work_dir):
    file = work_dir / "notes"
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def make_counting(make_server, notes):
    before = faults(notes=notes, noted="/dovecot-attributes")
    return lambda **settings: make_server(before=before, **settings)


@pytest.fixture
def server(make_counting):
    return make_counting()


@pytest.fixture
def count(notes):
    """Delivers a mail, and counts."""

    def deliver_and_count(server, message, *users):
        notes.touch()
        notes.chmod(0o666)
        replies = server.lmtp(*users, mail=message)
        counted = Counter(notes.read_text().splitlines())
        notes.unlink()
        assert all(reply.startswith("250") for reply in replies), replies
        return {"stat": counted.pop("lmtp stat", 0), "open": counted.pop("lmtp open", 0), **counted}

    return deliver_and_count


def test_what_counts_notices_a_reader(server, notes):
    """Without that, none of the other tests says anything."""
    user = server.coi_user()
    notes.touch()
    notes.chmod(0o666)
    with server.imap(user) as client:
        client.getmetadata(f"{ROOT}/enabled")
    assert {"imap open"} <= set(notes.read_text().splitlines())


@pytest.mark.parametrize("sieve", [False, True])
@pytest.mark.parametrize("make", [mail, chat])
def test_no_file_is_looked_for_once(make_counting, count, make, sieve):
    server = make_counting(sieve=sieve)
    user = server.new_user()
    # the first one makes INBOX
    for _ in range(2):
        assert count(server, make("mail"), user) == {"stat": 1, "open": 0}


@pytest.mark.parametrize("sieve", [False, True])
@pytest.mark.parametrize("make", [mail, chat])
@pytest.mark.parametrize("mode", ["none", "active", "seen"])
def test_a_file_is_read_once(make_counting, count, make, mode, sieve):
    server = make_counting(sieve=sieve)
    user = server.coi_user(mode)
    for _ in range(2):
        assert count(server, make("mail"), user) == {"stat": 1, "open": 1}


def test_a_file_without_COI_is_read_once(make_counting, count):
    server = make_counting(after="imap_metadata = yes\n")
    user = server.new_user()
    with server.imap(user) as client:
        assert client.setmetadata({"/private/comment": "mine"}).ok
    for make in (mail, chat):
        assert count(server, make("mail"), user) == {"stat": 1, "open": 1}


def test_without_push_mail_that_is_not_chat_needs_no_file(make_counting, count):
    server = make_counting(push=(("coi_push", "no"),))
    user = server.new_user()
    assert count(server, mail("mail"), user) == {"stat": 0, "open": 0}
    assert count(server, chat("chat"), user) == {"stat": 1, "open": 0}


def test_each_recipient_has_a_file(server, count):
    users = [server.new_user(), server.coi_user("active"), server.coi_user("none")]
    assert count(server, chat("chat"), *users) == {"stat": 3, "open": 2}


@pytest.mark.parametrize("make", [mail, chat])
@pytest.mark.parametrize("mode", [None, "active"])
def test_subscriptions_take_another_look(server, subscriber, count, make, mode):
    user = server.coi_user(mode) if mode else server.new_user()
    subscriber(server, user).register()
    # Dovecot's dict sees that it hasn't changed
    assert count(server, make("mail"), user) == {"stat": 2, "open": 1}
