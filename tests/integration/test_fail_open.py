# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-10 and the first decision of the design: whatever breaks, mail and logins go on."""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from harness import instruments
from harness.config import by_dialect, dialect, metadata_dict, plugins, settings
from harness.lmtp import Lmtp
from harness.mails import chat, mail
from harness.server import ROOT

pytestmark = pytest.mark.private

# The plugin without the shipped file: nobody has set a storage for metadata.
NO_STORAGE = plugins("coi")
LONG_LIVED = by_dialect(v2_3="", v2_4="service lmtp {\n  restart_request_count = unlimited\n}\n")


def assert_carries_on(server, user):
    """Both ways of delivery work for ordinary and chat mail, and login works, as without COI."""
    with Lmtp(server.lmtp_address) as client:
        for number in range(3):
            for make in (mail, chat):
                (reply,) = client.deliver([user], make(f"lmtp {make.__name__} {number}"))
                assert reply.startswith("250"), reply
    for make in (mail, chat):
        server.deliver("lda", user, make(f"lda {make.__name__}"))
    with server.imap(user) as client:
        client.must("NOOP")
        assert {(entry.subject, entry.is_chat) for entry in client.mails("INBOX")} == {
            (f"{way} {kind}{number}", False)
            for kind in ("mail", "chat")
            for way, number in [("lmtp", f" {n}") for n in range(3)] + [("lda", "")]
        }


def assert_told_once(log, server, pattern):
    """Each process that met the trouble says so, and says so once."""
    told = Counter()
    for line in log.lines(server):
        if re.search(pattern, line) and (process := re.search(r"\b(\w+)\([^)]*\)<?(\d+)?", line)):
            told[process.group()] += 1
    assert told, f"no log line says why ({pattern})"
    assert set(told.values()) == {1}, told


@pytest.fixture
def server(fresh_server):
    """Its processes have not yet said anything."""
    return fresh_server(after=LONG_LIVED)


def test_FIL_10_no_storage_for_metadata_is_configured(make_server, log):
    server = make_server(coi=False, before=NO_STORAGE, after=LONG_LIVED)
    user = server.new_user()
    log.expect("coi")
    assert_carries_on(server, user)
    with server.imap(user) as client:
        assert "COI" not in client.capabilities()
        assert client.setmetadata({f"{ROOT}/enabled": "yes"}).status == "NO"
    assert_told_once(log, server, "coi")


def unreadable(path):
    path.chmod(0)
    os.chown(path, 0, 0)


def a_directory(path):
    path.unlink()
    path.mkdir()


def behind_a_closed_door(path):
    """A symbolic link to what the user may not read."""
    path.unlink()
    path.symlink_to("/etc/shadow")


@pytest.mark.parametrize("damage", [unreadable, a_directory, behind_a_closed_door])
def test_FIL_10_metadata_that_cannot_be_read(server, log, damage):
    user = server.coi_user("active")
    damage(server.home(user) / "dovecot-attributes")
    log.expect("dovecot-attributes|coi")
    assert_carries_on(server, user)
    assert_told_once(log, server, "lmtp.*(dovecot-attributes|coi)")


def test_FIL_10_metadata_in_a_directory_that_is_closed(fresh_server, log):
    """Only where there is certainly no file there are no metadata."""
    server = fresh_server(before=metadata_dict("closed/attributes"), after=LONG_LIVED)
    user = server.new_user()
    unreadable(server.write(user, "closed/attributes", "").parent)
    log.expect("closed/attributes|coi")
    assert_carries_on(server, user)
    assert_told_once(log, server, "lmtp.*closed/attributes")


def test_FIL_10_garbage_in_the_metadata_file(server, log):
    user = server.coi_user("active")
    server.write(user, "dovecot-attributes", "\0garbage\n" * 3)
    log.expect("dovecot-attributes|coi")
    assert_carries_on(server, user)


def test_FIL_10_one_users_broken_file_is_not_anothers(server, log):
    broken, whole = server.coi_user("active"), server.coi_user("active")
    unreadable(server.home(broken) / "dovecot-attributes")
    log.expect("dovecot-attributes|coi")
    replies = server.lmtp(broken, whole, mail=chat("chat"))
    assert [reply[:3] for reply in replies] == ["250", "250"]
    assert server.where(broken)["chat"] == ("INBOX", set())
    assert server.where(whole)["chat"] == (server.chats, {"$Chat"})


@pytest.mark.skipif(dialect() != "2.3", reason="doveconf refuses unknown settings")
def test_a_settings_typo_is_told_and_costs_nothing(make_server, log):
    server = make_server(after=settings(coi_mailbox_rot="Chatting"))
    log.expect("coi_mailbox_rot")
    user = server.coi_user("active")
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == (server.chats, {"$Chat"})
    assert_told_once(log, server, "coi_mailbox_rot")


@pytest.mark.skipif(dialect() == "2.3", reason="doveconf takes any setting of a plugin")
def test_a_settings_typo_is_refused_by_doveconf(make_server, tmp_path):
    server = make_server()
    conf = tmp_path / "dovecot.conf"
    conf.write_text(server.conf.read_text() + "coi_mailbox_rot = Chatting\n")
    done = subprocess.run(
        ["doveconf", "-c", conf], capture_output=True, text=True, env=instruments.environment()
    )
    assert done.returncode != 0
    assert "coi_mailbox_rot" in done.stderr


@pytest.mark.parametrize("root", ["INBOX", "a//b", "x" * 300, "100%"])
def test_a_setting_of_no_use_turns_COI_off(make_server, log, root):
    server = make_server(after=LONG_LIVED + settings(coi_mailbox_root=root.replace("%", "%%")))
    user = server.new_user()
    log.expect("coi_mailbox_root")
    assert_carries_on(server, user)
    assert_told_once(log, server, "coi_mailbox_root")


class Core:
    """The core's library as installed, which can be hidden for a while."""

    path = Path("/usr/lib/dovecot/modules/coi/libcoi_core.so")
    kept = path.with_name("kept")

    def hide(self):
        self.path.rename(self.kept)

    def restore(self):
        if self.kept.exists():
            self.kept.rename(self.path)


@pytest.fixture
def core():
    if not os.environ.get("COI_TEST_MODULES_ARE_A_COPY"):
        pytest.skip("not to be tried on this machine's own modules")
    library = Core()
    yield library
    library.restore()


def build(path, source):
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", path, "-x", "c", "-"], input=source.encode(), check=True
    )


# What stands in the place of the core; None: nothing.
CORES = {
    "missing": None,
    "empty file": lambda path: path.touch(),
    "not a library": lambda path: path.write_text("#!/bin/sh\n"),
    "symbol missing": lambda path: build(path, "int nothing;"),
    "needs a symbol that nobody has": lambda path: build(
        path, "int nowhere(void); void *coi_core(unsigned v) { return v + (char *)0 + nowhere(); }"
    ),
    "speaks another version": lambda path: build(
        path, "const void *coi_core(unsigned version) { (void)version; return 0; }"
    ),
}


@pytest.mark.parametrize("name", CORES)
def test_a_core_that_does_not_load(server, log, core, name):
    user = server.coi_user("active")
    server.restart(server.settings)
    core.hide()
    if CORES[name]:
        CORES[name](core.path)
        core.path.chmod(0o644)
    log.expect("coi")
    assert_carries_on(server, user)
    with server.imap(user) as client:
        assert client.setmetadata({f"{ROOT}/enabled": "yes"}).status == "NO"
        assert client.setmetadata({f"{ROOT}/enabled": "yes"}).status == "NO"
    assert_told_once(log, server, "core")
