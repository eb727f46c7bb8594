# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Users without a home logged errors, whether they had heard of COI or not; and where one
set several entries, the client waited for ever to be asked for the next."""

import os
import re

import pytest
from harness.config import by_dialect, metadata_dict, plugins
from harness.imap import Literal
from harness.mails import chat, mail
from harness.push import eventually
from harness.server import MAIL_UID, PROBLEM, ROOT

pytestmark = pytest.mark.private

ENABLED = f"{ROOT}/enabled"
PUSH = "/private/vendor/vendor.dovecot/webpush"
NO_HOME = b"no home directory"
IN_HOME = by_dialect(
    v2_3="mail_attribute_dict = file:~/attributes\n",
    v2_4="mail_attribute {\n  dict file {\n    path = ~/attributes\n  }\n}\n",
)
# Dovecot 2.3 refuses a user without a home itself where %h is in its own settings.
PLACES = {"ours": "", "tilde": IN_HOME}
PLACES.update(by_dialect(v2_3={}, v2_4={"dovecots": metadata_dict("attributes")}))
# With the scripts elsewhere.
SIEVE = (
    plugins("sieve", protocol="lmtp")
    + plugins("sieve", protocol="lda")
    + by_dialect(
        v2_3="plugin {\n  sieve = file:/tmp;active=/tmp/none.sieve\n}\n",
        v2_4="sieve_script personal {\n  driver = file\n  path = /tmp\n"
        "  active_path = /tmp/none.sieve\n}\n",
    )
)


@pytest.fixture(params=PLACES)
def server(request, make_server):
    return make_server(home=False, before=PLACES[request.param])


def deliver_all(server, user):
    for way in ("lmtp", "lda"):
        for make in (mail, chat):
            server.deliver(way, user, make(f"{make.__name__} by {way}"))


def count_of_session(server, log, user, pattern):
    """Dovecot's log comes from another process; the session's last line is behind the others.
    Those of a test before this one may still come, too."""
    session = rf"imap\({user}\).*"
    eventually(lambda: log.count(server, f"{session}(Disconnected|Logged out)"), "it is over")
    return log.count(server, session + pattern)


def test_nothing_is_logged_of_who_asks_for_nothing(server, log):
    user = server.new_user()
    deliver_all(server, user)
    with server.imap(user) as client:
        assert "COI" not in client.capabilities()
        assert len(client.subjects("INBOX")) == 4
        assert client.getmetadata("/private", depth="infinity") == {}
        client.must("CREATE Other")
        client.must("RENAME Other Another")
        client.must("SELECT Another")
    assert log.problems() == []
    assert log.count(server, "coi: ") == 0


def problems_of(server, log, user):
    """Without what differs from user to user, and from one process to the next."""
    lines = [re.sub(r"^.*?\w+\(.*?: ", "", line) for line in log.lines(server)]
    return [
        re.sub(r"127\.0\.0\.1:\d+ \[\d+\]|<[^>]*>", "", line).replace(user, "USER")
        for line in lines
        if PROBLEM.search(line)
    ]


def test_with_Sieve_it_is_as_without_us(make_server, log):
    """Sieve asks for the database of duplicates, and it is its own affair to say so."""
    log.expect("home dir")
    found = []
    for coi in (False, True):
        server = make_server(home=False, coi=coi, after=SIEVE)
        user = server.new_user()
        deliver_all(server, user)
        with server.imap(user) as client:
            assert len(client.subjects("INBOX")) == 4
        found.append(problems_of(server, log, user))
    assert len(found[0]) >= 4
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "asked",
    [
        f'"" {ENABLED}',
        f'"" {ROOT}/mailbox-root',
        f'"" {PUSH}/vapid',
        f'"" (/private/vendor/vendor.dovecot/none {PUSH}/vapid {ENABLED})',
    ],
)
def test_who_reads_an_entry_is_told_why_there_is_none(server, log, asked):
    log.expect("coi: COI is off, because .*The user has no home")
    user = server.new_user()
    with server.imap(user) as client:
        for _ in range(2):
            response = client.command(f"GETMETADATA {asked}")
            assert response.status == "NO" and NO_HOME in response.text.encode(), response
    assert count_of_session(server, log, user, "coi: COI is off") == 1


@pytest.mark.parametrize("name", [ENABLED, f"{PUSH}/vapid"])
def test_what_is_listed_is_nothing(server, log, name):
    """Dovecot leaves an entry out that it can't list."""
    log.expect("coi: COI is off, because .*The user has no home")
    with server.imap(server.new_user()) as client:
        for _ in range(2):
            assert client.getmetadata(name, depth="infinity") == {}


@pytest.mark.parametrize(
    "entries",
    [
        {ENABLED: "yes"},
        {ENABLED: Literal("yes"), f"{ROOT}/message-filter": Literal("active")},
        {ENABLED: None},
        {f"{PUSH}/subscriptions/phone-1234567": Literal("{}")},
    ],
    ids=["enable", "literals", "disable", "subscribe"],
)
def test_who_sets_an_entry_is_told_why_there_is_no_place(server, log, entries):
    log.expect("coi: COI is off, because .*The user has no home")
    user = server.new_user()
    with server.imap(user) as client:
        for _ in range(2):
            response = client.setmetadata(entries)
            assert response.status == "NO" and NO_HOME in response.text.encode(), response
        assert client.folders() == ["INBOX"]
    assert count_of_session(server, log, user, "coi: COI is off") == 1
    assert not list(server.homes.glob(f"{user}/**/*attributes*"))


def test_a_Chats_folder_of_ones_own(server, log):
    """It can't enable COI, but is there."""
    log.expect("coi: (COI is off|Can't enable COI in the user's metadata: The user has no home)")
    user = server.new_user()
    with server.imap(user) as client:
        client.must("CREATE COI/Chats")
        assert "COI/Chats" in client.folders()
    assert count_of_session(server, log, user, "coi: Can't enable COI") == 1


def test_doveadm_says_why(server):
    user = server.new_user()
    for command in (("coi", "status"), ("mailbox", "metadata", "get")):
        of_what = () if command[0] == "coi" else ("-s", "", ENABLED)
        done = server.run("doveadm", *command, "-u", user, *of_what)
        assert done.returncode != 0
        assert b"The user has no home" in done.stderr


@pytest.mark.parametrize("command", ["backup", "sync"])
@pytest.mark.parametrize("place", PLACES)
def test_dsync_does_as_without_us(make_server, log, place, command):
    found = []
    for coi in (False, True):
        server = make_server(home=False, coi=coi, before=PLACES[place])
        user = server.new_user()
        server.deliver("lmtp", user, chat("chat"))
        copy = server.homes / f"copy-of-{user}"
        done = server.run("doveadm", command, "-u", user, f"maildir:{copy}")
        found.append((done.returncode, len(list(copy.glob("*/[0-9]*")))))
        assert b"coi: " not in done.stderr
    assert found[0] == found[1]


@pytest.mark.parametrize("enabled", [True, False])
def test_COI_with_a_dict_that_is_elsewhere(make_server, work_dir, log, enabled):
    """That there is no home is said only because we look at deliveries."""
    folder = work_dir / "elsewhere"
    if not folder.exists():
        folder.mkdir()
        os.chown(folder, MAIL_UID, MAIL_UID)
    server = make_server(
        home=False,
        before=by_dialect(
            v2_3=f"mail_attribute_dict = file:{folder}/%u\n",
            v2_4="mail_attribute {\n  dict file {\n    path = %s/%%{user}\n  }\n}\n" % folder,
        ),
    )
    user = server.coi_user("active") if enabled else server.new_user()
    deliver_all(server, user)
    folders = sorted(name for name, flags in server.where(user).values())
    assert folders == (["COI/Chats"] * 2 if enabled else ["INBOX"] * 2) + ["INBOX"] * 2
    assert log.problems() == []


def test_a_user_without_a_home_lost_all_service(make_server):
    """Dovecot 2.3 refuses a user for whom a setting of any plugin has an empty %h."""
    server = make_server(home=False)
    user = server.new_user()
    for make in (mail, chat):
        (reply,) = server.lmtp(user, mail=make(make.__name__))
        assert reply.startswith("250")
    with server.imap(user) as client:
        assert client.subjects("INBOX") == ["chat", "mail"]
        assert "COI" not in client.capabilities()
