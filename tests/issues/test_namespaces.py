# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Namespaces beside that of INBOX, their aliases, and roots that are below INBOX or in one of
their own."""

import pytest
from harness.config import by_dialect, settings
from harness.mails import chat
from harness.server import ROOT

pytestmark = pytest.mark.private

ENABLED = f"{ROOT}/enabled"
ANOTHER_NAMESPACE = by_dialect(
    v2_3="namespace {\n  prefix = Archive/\n  separator = /\n"
    "  location = maildir:~/archive\n}\n",
    v2_4="namespace archive {\n  prefix = Archive/\n  separator = /\n"
    "  mail_path = ~/archive\n}\n",
)


@pytest.fixture
def alias_server(make_server):
    """Folders are below INBOX/, and also where they were before, as after a migration."""
    alias = "namespace compat {\n  prefix =\n  separator = /\n  hidden = yes\n  list = no\n"
    alias += "  alias_for = " + by_dialect(v2_3="INBOX/", v2_4="inbox") + "\n}\n"
    return make_server(prefix="INBOX/", before=alias)


def test_ENA_1_an_alias_with_a_shorter_prefix_took_COI_away(alias_server):
    """It came first, and was taken for the namespace of INBOX."""
    user = alias_server.coi_user("active")
    alias_server.deliver("lmtp", user, chat("chat"))
    with alias_server.imap(user) as client:
        root = f"{ROOT}/mailbox-root"
        assert client.getmetadata(root) == {root: b"INBOX/COI"}
        assert client.subjects("INBOX/COI/Chats") == ["chat"]
        assert client.subjects("COI/Chats") == ["chat"]


@pytest.mark.parametrize("prefix", ["", "INBOX/"])
def test_ENA_6_ENA_8_an_alias_with_a_shorter_prefix_voided_the_rules(alias_server, prefix):
    user = alias_server.coi_user("active")
    with alias_server.imap(user) as client:
        assert not client.setmetadata({f"{ROOT}/enabled": "true"}).ok
        assert not client.command(f"RENAME {prefix}COI/Chats {prefix}Elsewhere").ok
        assert not client.command(f"RENAME {prefix}COI {prefix}Elsewhere").ok
        client.must(f"DELETE {prefix}COI/Chats")
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": None}


def test_SUB_2_an_alias_with_a_shorter_prefix_took_push_away(alias_server, subscriber):
    one = subscriber(alias_server, alias_server.coi_user("active")).subscribe()
    alias_server.deliver("lmtp", one.user, chat("chat"))
    assert one.until("chat") == ["chat"]
    assert one.stored()["resource"]["keys"]["auth"] == ""


def test_the_folder_rules_were_void_in_an_alias_namespace(make_server):
    alias = "namespace compat {\n  prefix = old/\n  separator = /\n  hidden = yes\n  list = no\n"
    alias += "  alias_for = " + by_dialect(v2_3="", v2_4="inbox") + "\n}\n"
    server = make_server(before=alias)
    user = server.coi_user("active")
    with server.imap(user) as client:
        assert not client.command("RENAME old/COI/Chats old/Elsewhere").ok
        assert not client.command("RENAME old/COI old/Elsewhere").ok
        client.must("DELETE old/COI/Chats")
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": None}


@pytest.mark.parametrize(
    "made, source, target", [("Old", "Old", "COI/Chats"), ("Old/Chats", "Old", "COI")]
)
def test_ENA_9_ENA_10_a_folder_of_another_namespace_enabled_nothing(
    make_server, made, source, target
):
    server = make_server(before=ANOTHER_NAMESPACE)
    user = server.new_user()
    with server.imap(user) as client:
        client.must(f"CREATE Archive/{made}")
        client.must(f"RENAME Archive/{source} {target}")
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}
        assert {server.chats, server.contacts} <= set(client.folders())


def test_ENA_8_a_folder_of_another_namespace_by_the_names_of_ours(make_server):
    """The rules are about the folders beside INBOX."""
    server = make_server(before=ANOTHER_NAMESPACE)
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must("CREATE Archive/COI/Chats")
        client.must("RENAME Archive/COI Elsewhere")
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}
        assert not client.command("RENAME COI/Chats Archive/Chats").ok


@pytest.mark.parametrize("root", ["inbox/COI", "Inbox/COI"])
def test_ENA_8_the_rules_were_void_below_INBOX_in_small_letters(make_server, log, root):
    """Dovecot says INBOX/COI where the setting says otherwise, and names didn't match."""
    log.expect("coi: COI is off, because .* coi_mailbox_root begins with INBOX")
    server = make_server(after=settings(coi_mailbox_root=root))
    with server.imap(server.new_user()) as client:
        assert not client.setmetadata({ENABLED: "yes"}).ok


def test_ENA_8_the_rules_below_INBOX(make_server):
    server = make_server(after=settings(coi_mailbox_root="INBOX/COI"))
    user = server.coi_user("active")
    with server.imap(user) as client:
        assert not client.command("RENAME INBOX/COI/Chats Elsewhere").ok


@pytest.mark.parametrize("prefix", ["COI/", "COI/Chats/"])
@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
def test_ENA_1_FIL_6_the_root_in_a_namespace_of_its_own(make_server, log, prefix, sieve):
    """COI could be enabled, and then there was no Chats that a client could open."""
    log.expect("coi: COI is off, because .* namespace")
    server = make_server(before=ANOTHER_NAMESPACE.replace("Archive/", prefix), sieve=sieve)
    user = server.new_user()
    with server.imap(user) as client:
        assert not client.setmetadata({ENABLED: "yes"}).ok
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == ("INBOX", set())


def test_ENA_1_FIL_6_the_root_by_the_name_of_an_alias(make_server, log):
    """As before: INBOX/COI/Chats is COI/Chats for a client, and we made another one."""
    log.expect("coi: COI is off, because .* namespace")
    alias = "namespace compat {\n  prefix = INBOX/\n  separator = /\n  hidden = yes\n  list = no\n"
    alias += "  alias_for = " + by_dialect(v2_3="", v2_4="inbox") + "\n}\n"
    server = make_server(before=alias, after=settings(coi_mailbox_root="INBOX/COI"))
    user = server.new_user()
    with server.imap(user) as client:
        assert not client.setmetadata({ENABLED: "yes"}).ok
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == ("INBOX", set())
