# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""ENA-6, ENA-7, ENA-8, ENA-9, ENA-10, ENA-11: what CREATE, DELETE and RENAME of Chats mean."""

import pytest
from harness import config
from harness.mails import chat
from harness.server import ROOT

ENABLED = f"{ROOT}/enabled"
FILTER = f"{ROOT}/message-filter"

NAMESPACES = pytest.mark.parametrize(
    "namespace", [{}, {"prefix": "INBOX/"}, {"separator": "."}], ids=["plain", "prefix", "dots"]
)
TRASH = """
namespace inbox {
  mailbox Bin {
    special_use = \\Trash
  }
}
"""


class Imap:
    """Folder operations by IMAP, as one way in."""

    def __init__(self, server, user):
        self.client = server.imap(user)

    def create(self, folder):
        return self.client.command(f'CREATE "{folder}"').ok

    def delete(self, folder):
        return self.client.command(f'DELETE "{folder}"').ok

    def rename(self, old, new):
        return self.client.command(f'RENAME "{old}" "{new}"').ok


class Doveadm:
    """The same by doveadm."""

    def __init__(self, server, user):
        self.server, self.user = server, user

    def mailbox(self, command, *names):
        done = self.server.run("doveadm", "mailbox", command, "-u", self.user, *names)
        return done.returncode == 0

    def create(self, folder):
        return self.mailbox("create", folder)

    def delete(self, folder):
        return self.mailbox("delete", folder)

    def rename(self, old, new):
        return self.mailbox("rename", old, new)


WAYS = pytest.mark.parametrize("way", [Imap, Doveadm])


def is_enabled(server, user):
    with server.imap(user) as client:
        return client.getmetadata(ENABLED)[ENABLED] is not None


@WAYS
@NAMESPACES
@pytest.mark.private
def test_ENA_6_ENA_10_deleting_Chats_disables(make_server, way, namespace):
    server = make_server(**namespace)
    user = server.coi_user("active")
    assert way(server, user).delete(server.chats)
    assert not is_enabled(server, user)
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == ("INBOX", set())


def test_ENA_6_deleting_another_folder_does_not(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must(f'DELETE "{server.contacts}"')
    assert is_enabled(server, user)


@WAYS
@NAMESPACES
@pytest.mark.private
def test_ENA_7_ENA_10_renaming_Chats_to_below_Trash_disables(make_server, way, namespace):
    server = make_server(**namespace)
    user = server.coi_user("active")
    operations = way(server, user)
    assert operations.create(server.folder("Trash"))
    assert operations.rename(server.chats, server.folder("Trash", "Chats"))
    assert not is_enabled(server, user)


@WAYS
@pytest.mark.private
def test_ENA_7_Trash_by_special_use(make_server, way):
    server = make_server(after=TRASH)
    user = server.coi_user("active")
    operations = way(server, user)
    assert operations.create("Bin")
    assert operations.rename(server.chats, server.folder("Bin", "old", "Chats"))
    assert not is_enabled(server, user)


@WAYS
@NAMESPACES
@pytest.mark.private
def test_ENA_8_ENA_10_ENA_11_any_other_rename_is_refused(make_server, way, namespace, log):
    server = make_server(**namespace)
    user = server.coi_user("active")
    log.expect("needed for COI")
    operations = way(server, user)
    with server.imap(user) as client:
        before = client.folders()
        assert not operations.rename(server.chats, server.folder("Elsewhere"))
        assert not operations.rename(server.chats, server.folder("Trash"))
        assert not operations.rename(server.chats, server.folder("Trashcan", "Chats"))
        assert not operations.rename(server.folder("COI"), server.folder("Elsewhere"))
        assert not operations.rename(server.folder("COI"), server.folder("Trash", "COI"))
        assert client.folders() == before
    assert is_enabled(server, user)


@pytest.mark.private
def test_ENA_8_the_parents_of_the_root_too(make_server):
    server = make_server(after=config.settings(coi_mailbox_root="Talk/Here"))
    user = server.coi_user("active")
    with server.imap(user) as client:
        assert server.folder("Talk", "Here", "Chats") in client.folders()
        assert not client.command("RENAME Talk Elsewhere").ok
    assert is_enabled(server, user)


def test_ENA_8_other_folders_can_be_renamed(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must("CREATE One")
        client.must("RENAME One Two")
        client.must(f'RENAME "{server.contacts}" "{server.folder("COI", "Others")}"')
    assert is_enabled(server, user)


def test_ENA_8_a_user_without_COI_may_rename_anything(server):
    user = server.new_user()
    chats_below = server.folder("COI", "Chats", "Below")
    with server.imap(user) as client:
        client.must(f'CREATE "{chats_below}"')
        client.must(f'RENAME "{server.folder("COI")}" "{server.folder("Mine")}"')
    assert not is_enabled(server, user)


@WAYS
@NAMESPACES
@pytest.mark.private
def test_ENA_9_ENA_10_creating_Chats_enables(make_server, way, namespace):
    server = make_server(**namespace)
    user = server.new_user()
    assert way(server, user).create(server.chats)
    with server.imap(user) as client:
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}
        assert {server.chats, server.contacts} <= set(client.folders())
        assert client.folders("LSUB") == [server.chats]
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == ("INBOX", {"$Chat"})


@WAYS
@NAMESPACES
@pytest.mark.private
def test_ENA_9_ENA_10_renaming_a_folder_to_Chats_enables(make_server, way, namespace):
    server = make_server(**namespace)
    user = server.new_user()
    operations = way(server, user)
    assert operations.create(server.folder("Old"))
    assert operations.rename(server.folder("Old"), server.chats)
    with server.imap(user) as client:
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}
        assert {server.chats, server.contacts} <= set(client.folders())
        assert client.folders("LSUB") == [server.chats]


def test_ENA_9_creating_what_is_there_changes_nothing(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        assert client.setmetadata({ENABLED: None}).ok
        assert not client.command(f'CREATE "{server.chats}"').ok
    assert not is_enabled(server, user)


@pytest.mark.private
def test_ENA_9_a_folder_that_the_admin_makes_for_all_enables_nobody(make_server):
    auto = "namespace inbox {\n  mailbox COI/Chats {\n    auto = create\n  }\n}\n"
    server = make_server(after=auto)
    user = server.new_user()
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must(f'SELECT "{server.chats}"')
    assert not is_enabled(server, user)


@pytest.mark.private
def test_ENA_11_a_delete_that_fails_leaves_COI_enabled(make_server, log):
    server = make_server()
    user = server.coi_user("active")
    log.expect("COI.Chats|mailboxes.lock|coi: ")
    maildir = server.home(user) / "maildir"
    maildir.chmod(0o500)
    with server.imap(user) as client:
        assert not client.command(f'DELETE "{server.chats}"').ok
    maildir.chmod(0o700)
    assert is_enabled(server, user)


@pytest.mark.private
def test_ENA_11_a_rename_that_fails_leaves_COI_enabled(make_server):
    server = make_server()
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must("CREATE Trash/Chats")
        assert not client.command(f'RENAME "{server.chats}" Trash/Chats').ok
        assert server.chats in client.folders()
    assert is_enabled(server, user)
