# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""BLK-1, BLK-2, BLK-3, BLK-4, BLK-5: mail from blocked contacts."""

import os

import pytest
from harness.contacts import SENDER, hash_of
from harness.contacts_index import index_of, read_header
from harness.imap import Literal
from harness.lmtp import Lmtp
from harness.mails import chat, mail
from harness.push import eventually
from harness.server import ROOT

FORMATS = ("maildir", "sdbox", "mdbox", "mbox")
WAYS = ("lmtp", "lda")


def contact(*addresses, blocked=False, date="Sat, 04 Jan 2025 10:00:00 +0000", **headers):
    lines = ["Chat-Content: contact", f"Date: {date}"]
    lines += [f"COI-From-Hash: {hash_of(address)}" for address in addresses]
    if blocked:
        lines.append(f"COI-Blocked: {blocked if isinstance(blocked, str) else 'yes'}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\n".join([*lines, "", "BEGIN:VCARD\nEND:VCARD\n"]).encode()


def add(server, user, *contacts):
    with server.imap(user) as client:
        for text in contacts:
            client.must(f'APPEND "{server.contacts}" ', Literal(text))


def where(server, user):
    """Like server.where(), without the contacts, which have no subject of their own."""
    found = {}
    with server.imap(user) as client:
        for folder in client.folders():
            if folder != server.contacts:
                found.update({m.subject: (folder, m.flags) for m in client.mails(folder)})
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("message_filter", ["none", "active", "seen"])
def test_BLK_1_BLK_3_blocked_mail_goes_to_Blocked(server, way, message_filter):
    user = server.coi_user(message_filter)
    add(server, user, contact(SENDER, "other@example.org", blocked=True))
    server.deliver(way, user, mail("ordinary"))
    server.deliver(way, user, chat("chat"))
    blocked = server.folder("Blocked")
    assert where(server, user) == {"ordinary": (blocked, set()), "chat": (blocked, {"$Chat"})}


def test_BLK_3_Blocked_is_made_when_it_is_first_needed(server):
    user = server.coi_user("active")
    blocked = server.folder("Blocked")
    add(server, user, contact(SENDER, blocked=True))
    server.deliver("lmtp", user, mail("from another").replace(b"sender@", b"other@"))
    with server.imap(user) as client:
        assert blocked not in client.folders()
        server.deliver("lmtp", user, mail("from a blocked one"))
        assert blocked in client.folders()


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
@pytest.mark.parametrize("prefix", ["", "INBOX/"], ids=["plain", "prefix"])
def test_BLK_3_in_every_setup(make_server, mail_format, sieve, prefix):
    server = make_server(mail_format=mail_format, sieve=sieve, prefix=prefix)
    user = server.coi_user("active")
    add(server, user, contact(SENDER, blocked=True))
    for number in range(3):
        server.deliver("lmtp", user, mail(f"mail {number}"))
    assert {folder for folder, _ in where(server, user).values()} == {server.folder("Blocked")}


@pytest.mark.parametrize("value", ["", "no", "whatever", "0"])
def test_BLK_1_any_value_blocks(server, value):
    user = server.coi_user("active")
    add(server, user, contact(SENDER, COI_Blocked=value))
    server.deliver("lmtp", user, mail("mail"))
    assert where(server, user)["mail"][0] == server.folder("Blocked")


@pytest.mark.parametrize(
    "text",
    [
        contact(SENDER),
        contact("other@example.org", blocked=True),
        contact(SENDER, blocked=True).replace(b"Chat-Content: contact\n", b""),
        contact(SENDER, blocked=True).replace(b": contact", b": other"),
        contact(blocked=True, COI_From_Hash="not a hash"),
        b"",
    ],
    ids=["not blocked", "another", "no Chat-Content", "another Chat-Content", "no hash", "empty"],
)
def test_BLK_1_what_does_not_block(server, text):
    user = server.coi_user("active")
    add(server, user, text or b"\n")
    server.deliver("lmtp", user, mail("mail"))
    assert where(server, user)["mail"][0] == "INBOX"


@pytest.mark.parametrize(
    "sender, address",
    [
        ('"Doe, John" <John.Doe@Example.ORG>', "john.doe@example.org"),
        ('"john.doe"@example.org', "john.doe@example.org"),
        ("john.doe@example.org (John)", "john.doe@example.org"),
        ("=?utf-8?q?J=C3=B6hn?= <john.doe@example.org>", "john.doe@example.org"),
        ("J <JÖHN@example.org>", "jöhn@example.org"),
        ("One <one@example.org>, Two <two@example.org>", "one@example.org"),
        ("one@example.org, two@example.org, three@example.org", "two@example.org"),
        ("Group: one@example.org, two@example.org;", "two@example.org"),
        # not well-formed: what clients show
        ("one@example.org <two@example.org>", "two@example.org"),
    ],
)
def test_BLK_2_addresses_are_normalised(server, sender, address):
    user = server.coi_user("active")
    add(server, user, contact(address, blocked=True))
    text = mail("mail").replace(b"Sender <sender@example.org>", sender.encode())
    server.deliver("lmtp", user, text)
    assert where(server, user)["mail"][0] == server.folder("Blocked")


@pytest.mark.parametrize(
    "sender",
    [
        *("", "nobody", "<>", "@", "a@", '"'),
        # An address in a comment or a name isn't the sender's.
        "Bob <bob@example.org> (formerly <sender@example.org>)",
        "bob@example.org (was <sender@example.org>)",
        '"<sender@example.org>": bob@example.org;',
        '"sender@example.org" <bob@example.org>',
    ],
)
def test_BLK_2_senders_with_no_such_address_are_not_blocked(server, sender):
    user = server.coi_user("active")
    add(server, user, contact(SENDER, blocked=True))
    text = mail("mail").replace(b"Sender <sender@example.org>", sender.encode())
    server.deliver("lmtp", user, text)
    assert where(server, user)["mail"][0] == "INBOX"


OLD, NEW = "Sat, 04 Jan 2025 10:00:00 +0000", "Sun, 05 Jan 2025 10:00:00 +0000"


@pytest.mark.parametrize(
    "first, second, folder",
    [
        ((True, OLD), (False, NEW), "INBOX"),
        ((False, NEW), (True, OLD), "INBOX"),
        ((False, OLD), (True, NEW), "Blocked"),
        ((True, NEW), (False, OLD), "Blocked"),
        ((True, OLD), (False, OLD), "INBOX"),
        ((False, OLD), (True, OLD), "Blocked"),
    ],
)
def test_BLK_4_the_newest_date_decides_then_the_uid(server, first, second, folder):
    user = server.coi_user("active")
    add(server, user, *(contact(SENDER, blocked=b, date=d) for b, d in (first, second)))
    server.deliver("lmtp", user, mail("mail"))
    if folder != "INBOX":
        folder = server.folder(folder)
    assert where(server, user)["mail"][0] == folder


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_BLK_5_each_change_counts_for_the_next_delivery(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    add(server, user, *(contact(f"friend{n}@example.org") for n in range(20)))
    server.deliver("lmtp", user, mail("1 before"))
    add(server, user, contact(SENDER, blocked=True))
    server.deliver("lmtp", user, mail("2 blocked"))
    add(server, user, contact(SENDER, date=NEW))
    server.deliver("lmtp", user, mail("3 unblocked by a newer contact"))
    with server.imap(user) as client:
        client.must(f'SELECT "{server.contacts}"')
        client.store("22", "+FLAGS", "\\Deleted")
        client.must("EXPUNGE")
    server.deliver("lmtp", user, mail("4 the newer contact is gone"))
    with server.imap(user) as client:
        client.must(f'SELECT "{server.contacts}"')
        client.store("21", "+FLAGS", "\\Deleted")
        client.must("EXPUNGE")
    server.deliver("lmtp", user, mail("5 the blocking one is gone"))
    blocked = server.folder("Blocked")
    folders = [found[0] for _, found in sorted(where(server, user).items())]
    assert folders == ["INBOX", blocked, "INBOX", blocked, "INBOX"]


def contacts_dir(server, user):
    """Where the Contacts folder has its index."""
    return next(server.home(user).glob("**/*Contacts/**/dovecot.index.log")).parent


def where_now(server, user):
    """Where the next mail goes."""
    server.deliver("lmtp", user, mail("next"))
    folder = next(found[0] for subject, found in where(server, user).items() if subject == "next")
    server.doveadm("expunge", "-u", user, "mailbox", folder, "all")
    return folder


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_BLK_5_a_folder_that_has_not_changed_is_not_opened(make_server, mail_format, log):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    add(server, user, contact(SENDER, blocked=True))
    for number in range(3):
        server.deliver("lmtp", user, mail(f"mail {number}"))
    directory = contacts_dir(server, user)
    index = directory / "dovecot-coi.contacts"
    written = index.stat()
    (directory / "dovecot.index").write_bytes(b"not an index" * 50)
    server.deliver("lmtp", user, mail("mail 3"))
    assert index.stat() == written
    assert {found[0] for found in where(server, user).values()} == {server.folder("Blocked")}
    # Who opens the folder notices, and so does this test, ahead of its own look.
    log.expect("Contacts")
    (directory / "dovecot.index.log").chmod(0o666)
    server.deliver("lmtp", user, mail("mail 4"))
    eventually(
        lambda: index.stat() != written or log.count(server, "Error: .*Contacts"),
        "the delivery has opened the folder",
    )
    assert "mail 4" in where(server, user)


@pytest.mark.private
@pytest.mark.parametrize("nfs", ["no", "yes"])
def test_BLK_5_a_log_that_another_machine_may_write_is_not_trusted(make_server, nfs):
    after = f"mail_nfs_index = {nfs}\nmmap_disable = {nfs}\nmail_fsync = always\n"
    server = make_server(after=after)
    user = server.coi_user("active")
    add(server, user, contact(SENDER, blocked=True))
    for number in range(2):
        server.deliver("lmtp", user, mail(f"mail {number}"))
    assert (read_header(index_of(server, user)).log == (0, 0, 0)) == (nfs == "yes")
    assert {folder for folder, _ in where(server, user).values()} == {server.folder("Blocked")}


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_BLK_5_what_becomes_of_the_folder_counts_at_once(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    blocked, contacts = server.folder("Blocked"), server.contacts
    assert where_now(server, user) == "INBOX"
    add(server, user, contact(SENDER, blocked=True))
    assert where_now(server, user) == blocked
    for flags in ("\\Seen", "\\Flagged $Keyword"):
        with server.imap(user) as client:
            client.must(f'SELECT "{contacts}"')
            client.store("1", "+FLAGS", flags)
        assert [where_now(server, user) for _ in range(3)] == [blocked] * 3
    with server.imap(user) as client:
        client.must(f'RENAME "{contacts}" Away')
    assert where_now(server, user) == "INBOX"
    with server.imap(user) as client:
        client.must("SELECT Away")
        client.must("APPEND Away ", Literal(contact(SENDER, date=NEW)))
        client.must(f'RENAME Away "{contacts}"')
    assert where_now(server, user) == "INBOX"
    with server.imap(user) as client:
        client.must(f'DELETE "{contacts}"')
        client.must(f'CREATE "{contacts}"')
    assert where_now(server, user) == "INBOX"
    add(server, user, contact(SENDER, blocked=True))
    assert where_now(server, user) == blocked
    server.doveadm("index", "-u", user, contacts)
    server.doveadm("force-resync", "-u", user, contacts)
    assert where_now(server, user) == blocked


@pytest.mark.private
def test_BLK_5_other_contacts_may_have_the_same_numbers(make_server):
    """Those that there are, where the folder has another UIDVALIDITY."""
    server = make_server()
    user = server.coi_user("active")
    senders = [f"{name}@example.org" for name in "abc"]

    def where_from(sender):
        server.deliver("lmtp", user, mail("next").replace(SENDER.encode(), sender.encode()))
        ((folder, _),) = where(server, user).values()
        server.doveadm("expunge", "-u", user, "mailbox", folder, "all")
        return folder

    blocked = server.folder("Blocked")
    add(server, user, *(contact(sender, blocked=True) for sender in senders[:2]))
    assert [where_from(sender) for sender in senders] == [blocked, blocked, "INBOX"]
    with server.imap(user) as client:
        client.must(f'SELECT "{server.contacts}"')
        client.store("1", "+FLAGS", "\\Deleted")
        client.must("EXPUNGE")
    assert where_from(senders[0]) == "INBOX"
    folder = contacts_dir(server, user)
    for file in (folder / "dovecot-uidlist", *folder.glob("dovecot.index*")):
        file.unlink()
    add(server, user, contact(senders[2], blocked=True))
    assert [where_from(sender) for sender in senders] == ["INBOX", blocked, blocked]


@pytest.mark.private
def test_BLK_3_an_index_that_cannot_be_replaced(make_server, log):
    """Nothing is left behind of what each delivery makes."""
    log.expect("Can't write .*/dovecot-coi.contacts")
    server = make_server()
    user = server.coi_user("active")
    add(server, user, contact(SENDER, blocked=True))
    index = contacts_dir(server, user) / "dovecot-coi.contacts"
    index.mkdir()
    assert [where_now(server, user) for _ in range(2)] == [server.folder("Blocked")] * 2
    assert list(index.parent.glob("dovecot-coi.contacts*")) == [index]


@pytest.mark.private
def test_BLK_3_a_delivery_leaves_no_file_open(fresh_server):
    server = fresh_server(after="service lmtp {\n  process_limit = 1\n}\n")
    user = server.coi_user("active")
    add(server, user, contact(SENDER, blocked=True))

    with Lmtp(server.lmtp_address) as client:

        def open_after(count):
            for _ in range(count):
                client.deliver([user], chat("chat"))
            (pid,) = server.children("lmtp")
            return len(os.listdir(f"/proc/{pid}/fd"))

        before = open_after(2)
        assert open_after(20) < before + 10


@pytest.mark.private
@pytest.mark.parametrize(
    "damage", [b"", b"COIC", b"COIC\x02", b"\xff" * 5000], ids=["none", "cut off", "old", "noise"]
)
def test_BLK_5_a_damaged_index_is_made_anew(make_server, damage):
    server = make_server()
    user = server.coi_user("active")
    add(server, user, contact(SENDER, blocked=True))
    for number in range(3):
        server.deliver("lmtp", user, mail(f"before {number}"))
    index = contacts_dir(server, user) / "dovecot-coi.contacts"
    good = index.read_bytes()
    # A whole one of another version, where that is the damage.
    index.write_bytes(damage + good[5:] if damage.endswith(b"\x02") else damage)
    for number in range(3):
        server.deliver("lmtp", user, mail(f"after {number}"))
    made = index.read_bytes()
    assert (made[:8], made[48:]) == (good[:8], good[48:])
    assert {folder for folder, _ in where(server, user).values()} == {"Blocked"}


def test_ENA_4_BLK_3_not_for_a_user_who_has_disabled_COI(server):
    """But the contacts and the filter stay, for the next time."""
    user = server.coi_user("active")
    add(server, user, contact(SENDER, blocked=True))
    with server.imap(user) as client:
        assert client.setmetadata({f"{ROOT}/enabled": None}).ok
        server.deliver("lmtp", user, mail("mail"))
        assert where(server, user)["mail"][0] == "INBOX"
        assert f"{ROOT}/message-filter" in client.getmetadata(ROOT, depth=1)
        assert client.setmetadata({f"{ROOT}/enabled": "yes"}).ok
        server.deliver("lmtp", user, mail("again"))
        assert where(server, user)["again"][0] == server.folder("Blocked")


@pytest.mark.private
def test_BLK_3_FIL_6_where_Blocked_is_unusable_the_mail_arrives(make_server, log):
    server = make_server()
    user = server.coi_user("active")
    add(server, user, contact(SENDER, blocked=True))
    server.write(user, "maildir/.Blocked", "in the way")
    log.expect("Blocked|coi: ")
    server.deliver("lmtp", user, mail("ordinary"))
    server.deliver("lmtp", user, chat("chat"))
    assert where(server, user) == {
        "ordinary": ("INBOX", set()),
        "chat": (server.chats, {"$Chat"}),
    }


@pytest.mark.parametrize("sieve", [False, True], ids=["", "sieve"])
@pytest.mark.parametrize("message_filter", ["none", "active"])
def test_BLK_3_FIL_6_where_Blocked_can_no_longer_be_written(
    make_server, log, message_filter, sieve
):
    """A chat went to INBOX then, and not to Chats."""
    log.expect("Blocked|coi: ")
    server = make_server(mail_format="maildir", sieve=sieve)
    user = server.coi_user(message_filter)
    add(server, user, contact(SENDER, blocked=True))
    server.deliver("lmtp", user, mail("first"))
    for name in ("tmp", "new", "cur"):
        (server.home(user) / "maildir/.Blocked" / name).chmod(0o500)
    server.deliver("lmtp", user, chat("a chat"))
    server.deliver("lmtp", user, mail("a mail"))
    assert where(server, user) == {
        "first": ("Blocked", set()),
        "a chat": (server.chats if message_filter == "active" else "INBOX", {"$Chat"}),
        "a mail": ("INBOX", set()),
    }


def test_BLK_3_FIL_8_each_recipient_by_their_own_contacts(server):
    blocking, other, plain = server.coi_user("active"), server.coi_user("active"), server.new_user()
    add(server, blocking, contact(SENDER, blocked=True))
    for number, recipients in enumerate([(blocking, other, plain), (plain, other, blocking)]):
        server.lmtp(*recipients, mail=mail(f"mail {number}"))
    for user, folder in ((blocking, server.folder("Blocked")), (other, "INBOX"), (plain, "INBOX")):
        assert [found[0] for found in where(server, user).values()] == [folder] * 2
