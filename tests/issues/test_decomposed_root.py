# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A root of decomposed letters (NFD): since 2.4.3 Dovecot has the names of folders in NFC. The
rules of Chats didn't hold there, contacts weren't looked for, and what a client was told to
be the root was no folder's name."""

import subprocess
import unicodedata
from dataclasses import replace

import pytest
from harness.config import settings
from harness.imap import Literal, quote
from harness.mails import chat, mail
from harness.server import ROOT
from test_blocked import SENDER, contact
from test_unusual_sessions import form_of, in_utf7

pytestmark = pytest.mark.private

FILTER = f"{ROOT}/message-filter"
ENABLED = f"{ROOT}/enabled"
MAILBOX_ROOT = f"{ROOT}/mailbox-root"
DECOMPOSED = unicodedata.normalize("NFD", "Gespräche")
COMPOSED = unicodedata.normalize("NFC", DECOMPOSED)
NFC_SETTING = "mailbox_list_normalize_names_to_nfc"
# The admin makes them for everybody.
AUTOMATIC = "namespace inbox {\n%s}\n" % "".join(
    f"  mailbox {DECOMPOSED}/{name} {{\n    auto = create\n  }}\n"
    for name in ("Chats", "Contacts")
)


def may_keep_names(server):
    """Whether this Dovecot has names in NFC, and can be told to leave them as they are."""
    command = ["doveconf", "-c", str(server.conf), "-h", NFC_SETTING]
    return subprocess.run(command, capture_output=True).stdout == b"yes\n"


@pytest.mark.parametrize("mail_format", ("maildir", "sdbox"))
def test_CFG_1_ENA_1_ENA_6_ENA_8_ENA_9_BLK_3_a_decomposed_root(
    make_server, subscriber, mail_format
):
    server = make_server(
        mail_format=mail_format,
        prefix="Übrig/" if mail_format == "sdbox" else "",
        after=settings(coi_mailbox_root=DECOMPOSED),
    )
    user = server.new_user()
    with server.imap(user) as client:
        root = form_of(DECOMPOSED, server, client)
        # all by which the server knows it
        forms = {root} | ({DECOMPOSED} if root == COMPOSED else set())
        chats = in_utf7(server.folder(root, "Chats"))
        contacts = in_utf7(server.folder(root, "Contacts"))
        assert client.getmetadata(MAILBOX_ROOT) == {MAILBOX_ROOT: server.folder(root).encode()}

        enabled = client.setmetadata({ENABLED: "yes", FILTER: "active"})
        assert enabled.ok and not enabled.lines("LIST")
        assert {chats, contacts} < set(client.folders())
        assert client.folders("LSUB") == [chats]
        phone = subscriber(server, user).subscribe()
        server.deliver("lmtp", user, chat("active"))
        assert client.subjects(chats) == ["active"]
        (push,) = phone.pushes(1)
        assert push.payload["folder"] == server.folder(root, "Chats")

        assert client.setmetadata({FILTER: "seen"}).ok
        server.deliver("lda", user, chat("seen"))
        client.must("SELECT INBOX")
        read = client.must("STORE 1 +FLAGS (\\Seen)")
        assert not read.lines("LIST")
        assert client.subjects(chats) == ["active", "seen"]

        client.must(f"APPEND {quote(contacts)} ", Literal(contact(SENDER, blocked=True)))
        server.deliver("lmtp", user, mail("blocked"))
        assert client.subjects(in_utf7(server.folder("Blocked"))) == ["blocked"]
        client.must("UNSELECT")

        other = quote(in_utf7(server.folder("Other")))
        for form in forms:
            name = quote(in_utf7(server.folder(form, "Chats")))
            assert not client.command(f"RENAME {name} {other}").ok
            above = quote(in_utf7(server.folder(form)))
            assert not client.command(f"RENAME {above} {other}").ok
            assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}
            client.must(f"DELETE {name}")
            assert client.getmetadata(ENABLED) == {ENABLED: None}
            client.must(f"CREATE {name}")
            assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}
            assert chats in client.folders("LSUB")
            client.must(f"DELETE {name}")
            client.must(f"CREATE {other}")
            client.must(f"RENAME {other} {name}")
            assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}


@pytest.mark.parametrize("occasion", ("delivery", "blocked", "enable", "list", "seen"))
@pytest.mark.parametrize(
    "mail_format, automatic",
    (("maildir", ""), ("sdbox", ""), ("maildir", AUTOMATIC)),
    ids=("maildir", "sdbox", "automatic"),
)
def test_ENA_1_ENA_9_FIL_2_BLK_3_folders_of_an_older_Dovecot(
    fresh_server, mail_format, occasion, automatic, log
):
    """There is no second Chats beside the one that has the user's chats, and nobody's COI is
    enabled because Dovecot renames."""
    # Dovecot says so where folders are within each other, and has renamed them.
    log.expect("Failed to rename mailbox '.*' for NFC normalization: Mailbox doesn't exist")
    server = fresh_server(mail_format=mail_format, after=settings(coi_mailbox_root=DECOMPOSED))
    if not may_keep_names(server):
        pytest.skip("this Dovecot leaves names as they are")
    old = server.settings
    new = replace(old, after=old.after + automatic)
    server.restart(replace(old, after=old.after + f"{NFC_SETTING} = no\n"))
    user = server.coi_user("none" if occasion == "seen" else "active")
    with server.imap(user) as client:
        assert client.getmetadata(MAILBOX_ROOT) == {MAILBOX_ROOT: DECOMPOSED.encode()}
        older = [in_utf7(f"{DECOMPOSED}/{name}") for name in ("Chats", "Contacts")]
        assert set(older) < set(client.folders())
        client.must(f"APPEND {quote(older[0])} ", Literal(chat("old")))
        client.must(
            f"APPEND {quote(older[1])} ", Literal(contact("bad@example.org", blocked=True))
        )
        if occasion in ("seen", "list"):
            client.must("APPEND INBOX ($Chat) ", Literal(chat("read")))
        if occasion in ("enable", "list"):
            assert client.setmetadata({ENABLED: None}).ok
        else:
            assert client.setmetadata({FILTER: "seen" if occasion == "seen" else "active"}).ok

    server.restart(new)
    chats = in_utf7(f"{COMPOSED}/Chats")
    expected = ["old"]
    if occasion == "delivery":
        server.deliver("lmtp", user, chat("new"))
        expected = ["new", "old"]
    elif occasion == "blocked":
        server.deliver("lmtp", user, mail("bad").replace(SENDER.encode(), b"bad@example.org"))
    with server.imap(user) as client:
        if occasion == "enable":
            assert client.setmetadata({ENABLED: "yes"}).ok
        elif occasion == "seen":
            client.must("SELECT INBOX")
            client.must("STORE 1 +FLAGS (\\Seen)")
            client.must("UNSELECT")
            expected = ["old", "read"]
        # In which Dovecot may rename, and lists some twice or by other names, or fails.
        client.command('LIST "" "*"')
        folders = {"INBOX", chats, in_utf7(f"{COMPOSED}/Contacts")}
        assert set(client.folders()) == folders | ({"Blocked"} & {occasion.title()})
        assert client.folders("LSUB") == [chats]
        assert client.subjects(chats) == expected
        assert client.exists(in_utf7(f"{COMPOSED}/Contacts")) == 1
        if occasion == "blocked":
            assert client.subjects("Blocked") == ["bad"]
        assert client.getmetadata(ENABLED) == {ENABLED: None if occasion == "list" else b"yes"}
