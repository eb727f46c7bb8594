# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What an admin sets up who reads docs/, and hasn't written them."""

import contextlib
import hashlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from harness.config import DICT_SERVICE, by_dialect, metadata_dict, settings
from harness.doveadm import dsync
from harness.imap import Literal
from harness.mails import chat, mail
from harness.push import SUBSCRIPTIONS, read_vapid, subscriptions, vapid_key
from harness.push_service import answer
from harness.server import ROOT

pytestmark = pytest.mark.private

SQLITE = Path("/usr/lib/dovecot/modules/dict/libdriver_sqlite.so")
TABLE = (
    "CREATE TABLE metadata (username VARCHAR(255), box VARCHAR(40), attr VARCHAR(255),"
    " value TEXT, PRIMARY KEY (username, box, attr))"
)


def sql_dict(directory):
    """A database that is a file: it needs no server, but no folder can be deleted."""
    file, map_file = directory / "metadata.sqlite", directory / "dict-sql.conf"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute(TABLE)
    map_file.write_text(
        f"connect = {file}\nmap {{\n  pattern = priv/$box/$key\n  table = metadata\n"
        "  username_field = username\n  value_field = value\n"
        "  fields {\n    box = $box\n    attr = $key\n  }\n}\n"
    )
    directory.chmod(0o777)
    file.chmod(0o666)
    return DICT_SERVICE + by_dialect(
        v2_3=f"dict {{\n  metadata = sqlite:{map_file}\n}}\n"
        "mail_attribute_dict = proxy::metadata\n",
        v2_4="dict_server {\n  dict metadata {\n    driver = sql\n    sql_driver = sqlite\n"
        f"    sqlite_path = {file}\n    dict_map priv/$box/$key {{\n"
        "      sql_table = metadata\n      username_field = username\n"
        "      value_field value {\n      }\n"
        "      key_field box {\n        value = $box\n      }\n"
        "      key_field attr {\n        value = $key\n      }\n    }\n  }\n}\n"
        "mail_attribute {\n  dict proxy {\n    name = metadata\n  }\n}\n",
    )


@pytest.mark.skipif(not SQLITE.exists(), reason="dovecot-sqlite isn't here")
def test_SUB_2_SUB_4_MSG_1_nobody_could_subscribe_with_metadata_in_SQL(
    fresh_server, subscriber, work_dir
):
    """Dovecot's SQL dict can't list what begins within the last variable of its map."""
    directory = work_dir / "sql"
    directory.mkdir()
    server = fresh_server(before=sql_dict(directory))
    user = server.coi_user("active")
    phone, tablet = subscriber(server, user).subscribe(), subscriber(server, user).subscribe()
    assert subscriptions(server, user).keys() == {phone.id, tablet.id}
    server.deliver("lmtp", user, mail("mail"))
    server.deliver("lmtp", user, chat("chat"))
    assert phone.until("chat") == tablet.until("chat") == ["mail", "chat"]
    assert tablet.remove().ok
    assert subscriptions(server, user).keys() == {phone.id}
    with server.imap(user) as client:
        assert client.setmetadata({f"{ROOT}/message-filter": None}).ok
        assert client.getmetadata(ROOT, depth=1).keys() == {
            f"{ROOT}/enabled",
            f"{ROOT}/mailbox-root",
        }


@pytest.mark.parametrize("coi", [True, False], ids=["COI before", "push alone"])
def test_SUB_11_other_users_of_the_machine_could_read_the_secrets(server, subscriber, coi):
    """Homes have the mode 0755 in Debian 12, and the file got that of the home."""
    user = server.new_user()
    home = server.write(user, "unrelated", "").parent
    home.chmod(0o755)
    if coi:
        with server.imap(user) as client:
            assert client.setmetadata({f"{ROOT}/enabled": "yes"}).ok
    phone = subscriber(server, user)
    # The second time that it is written there is a file whose mode can be changed.
    phone.register()
    assert phone.value["resource"]["keys"]["auth"] in (home / "dovecot-attributes").read_text()
    assert (home / "dovecot-attributes").stat().st_mode & 0o007 == 0


def test_SUB_11_what_a_link_points_to_keeps_its_mode(server, subscriber):
    """It may be any file of the user's; Dovecot puts one of its own in place of the link."""
    user = server.coi_user()
    path = server.home(user) / "dovecot-attributes"
    other = path.rename(path.with_name("other"))
    other.chmod(0o644)
    path.symlink_to(other)
    subscriber(server, user).register()
    assert not path.is_symlink()
    assert other.stat().st_mode & 0o777 == 0o644


def test_SUB_11_a_metadata_file_of_the_admins_keeps_its_mode(make_server, subscriber):
    server = make_server(before=metadata_dict("admin-attributes"))
    user = server.new_user()
    path = server.write(user, "admin-attributes", "")
    path.chmod(0o644)
    subscriber(server, user).subscribe()
    assert path.stat().st_mode & 0o777 == 0o644


def with_keys(one, **keys):
    value = one.value
    value["resource"]["keys"].update(keys)
    return value


def with_endpoint(one, endpoint):
    value = one.value
    value["resource"]["endpoint"] = endpoint
    return value


def with_entries(one, *ids):
    with one.server.imap(one.user) as client:
        return client.setmetadata({f"{SUBSCRIPTIONS}/{id}": None for id in ids})


# How a subscription is refused, and with what answer: clients.md has the same table.
REFUSALS = {
    "[CANNOT] The subscription can't be used: ": lambda one: one.set("{}"),
    "[CANNOT] resource.keys.p256dh is not a key": lambda one: one.set(
        with_keys(one, p256dh="BA" + "A" * 85)
    ),
    "[METADATA MAXSIZE 8192] The value is too long": lambda one: one.set("x" * 9000),
    "[CANNOT] This push service is not allowed": lambda one: one.set(
        with_endpoint(one, "https://10.0.0.1/")
    ),
    "[CANNOT] The push service refused the message": lambda one: (
        one.service.on(one.path, answer(403)),
        one.set(),
    )[1],
    "[UNAVAILABLE] The push service is unreachable": lambda one: one.set(
        with_endpoint(one, "https://127.0.0.1:1/")
    ),
    "[CANNOT] The validation text is wrong or too old": lambda one: one.validate("x"),
    "[CANNOT] There is no such webpush entry": lambda one: with_entries(one, "too-short"),
    "[LIMIT] Too many changes at once": lambda one: with_entries(
        one, *(f"{number:010}" for number in range(101))
    ),
}


@pytest.mark.parametrize("text", REFUSALS)
def test_SUB_12_a_client_is_told_by_a_code_what_to_do(server, subscriber, text):
    response = REFUSALS[text](subscriber(server, server.new_user()))
    assert response.status == "NO"
    assert response.text.startswith(text)
    documented = Path(__file__).resolve().parents[2] / "docs/clients.md"
    assert f"| `{text}" in documented.read_text()


@pytest.mark.parametrize("place", ["everybody", "one user"])
def test_CFG_1_CAP_1_the_userdb_may_set_it_for_one_user(make_server, place):
    fields = ("coi_push=no", "coi_mailbox_root=Chatting") if place == "one user" else ()
    server = make_server(userdb_fields=fields)
    with server.imap(server.coi_user()) as client:
        assert ("WEBPUSH" in client.capabilities()) == (not fields)
        assert ("Chatting/Chats" in client.folders()) == bool(fields)


def test_CFG_1_the_root_is_told_in_UTF_8(make_server):
    server = make_server(after=settings(coi_mailbox_root="Gespräche"))
    with server.imap(server.coi_user()) as client:
        entry = f"{ROOT}/mailbox-root"
        assert client.getmetadata(entry) == {entry: "Gespräche".encode()}
        assert "Gespr&AOQ-che/Chats" in client.folders()


def mbox_as_debian_has_it():
    """The default of Debian 12 and 13: INBOX elsewhere than the folders, and both kinds of lock."""
    return by_dialect(
        v2_3="mail_location = mbox:~/mail:INBOX=~/spool\nmbox_write_locks = fcntl dotlock\n",
        v2_4="mail_path = %{home}/mail\nmail_inbox_path = %{home}/spool\n"
        "mbox_write_locks {\n  fcntl = yes\n  dotlock = yes\n}\n",
    )


@pytest.mark.parametrize("sieve", [False, True], ids=["", "sieve"])
@pytest.mark.parametrize("message_filter", ["none", "active", "seen"])
def test_FIL_1_FIL_2_FIL_3_MSG_1_BLK_3_mbox(make_server, subscriber, message_filter, sieve):
    server = make_server(mail_format="mbox", after=mbox_as_debian_has_it(), sieve=sieve)
    user = server.coi_user(message_filter)
    phone = subscriber(server, user).subscribe()
    for way in ("lmtp", "lda"):
        server.deliver(way, user, mail(f"mail by {way}"))
        server.deliver(way, user, chat(f"chat by {way}"))
        phone.until(f"chat by {way}")
    delivered = server.chats if message_filter == "active" else "INBOX"
    chats = {f"chat by {way}": (delivered, {"$Chat"}) for way in ("lmtp", "lda")}
    mails = {f"mail by {way}": ("INBOX", set()) for way in ("lmtp", "lda")}
    assert server.where(user) == chats | mails
    with server.imap(user) as client:
        for push in phone.pushes(4):
            (found,) = [
                found
                for found in client.mails(push.payload["folder"])
                if found.uid == push.payload["uid"]
            ]
            assert found.subject == push.payload["subject"]
        # another session has it open meanwhile
        with server.imap(user) as other:
            other.must("SELECT INBOX")
            client.must("SELECT INBOX")
            client.store("1:*", "+FLAGS", "\\Seen")
            other.must("NOOP")
    seen = server.chats if message_filter == "seen" else delivered
    flags = set() if message_filter == "active" else {"\\Seen"}
    assert server.where(user) == {name: (seen, {"$Chat"} | flags) for name in chats} | {
        name: ("INBOX", {"\\Seen"}) for name in mails
    }
    sender = hashlib.sha3_256(b"sender@example.org").hexdigest()
    contact = mail("c", "Chat-Content: contact", f"COI-From-Hash: {sender}", "COI-Blocked: yes")
    with server.imap(user) as client:
        client.must(f'APPEND "{server.contacts}" ', Literal(contact.replace(b"\n", b"\r\n")))
    server.deliver("lmtp", user, chat("blocked"))
    assert server.where(user)["blocked"] == ("Blocked", {"$Chat"})
    with server.imap(user) as client:
        client.must(f'DELETE "{server.chats}"')
        assert f"{ROOT}/enabled" not in client.getmetadata(ROOT, depth=1)


def test_SUB_1_MSG_7_users_who_are_moved_to_another_server(fresh_server, subscriber):
    """As operate.md has it: their subscriptions and the key of these come along."""
    old, new = fresh_server(), fresh_server()
    user = old.coi_user("active")
    phone = subscriber(old, user).subscribe()
    key = vapid_key(old, user)
    assert dsync(old, user, new).returncode == 0
    copy = new.dir / "push/keys/vapid-moved.pem"
    copy.write_bytes((old.dir / "push/keys/vapid.pem").read_bytes())
    copy.chmod(0o600)
    shutil.chown(copy, copy.parent.stat().st_uid)
    new.reload()
    assert subscriptions(new, user).keys() == {phone.id}
    new.deliver("lmtp", user, chat("on the new one"))
    assert phone.until("on the new one") == ["on the new one"]
    assert new.where(user) == {"on the new one": (new.chats, {"$Chat"})}
    read_vapid(phone.requests()[-1].header("Authorization"), key)


def test_CFG_5_SUB_2_what_is_changed_before_the_last_copy(fresh_server, subscriber):
    """Without -f, Dovecot takes INBOX for unchanged here: the lost phone would have come along."""
    old, new = fresh_server(), fresh_server()
    user = old.coi_user("active")
    stays, lost = subscriber(old, user).subscribe(), subscriber(old, user).subscribe()
    assert dsync(old, user, new, options=["-f"]).returncode == 0
    old.deliver("lmtp", user, mail("mail"))
    with old.imap(user) as client:
        assert client.setmetadata({f"{ROOT}/message-filter": "seen"}).ok
    assert dsync(old, user, new, options=["-f"]).returncode == 0
    assert lost.remove().ok
    assert dsync(old, user, new, options=["-f"]).returncode == 0
    assert subscriptions(new, user).keys() == {stays.id}
    with new.imap(user) as client:
        assert client.getmetadata(f"{ROOT}/message-filter").popitem()[1] == b"seen"


def test_SUB_4_MSG_1_a_user_who_is_renamed(make_server, subscriber):
    server = make_server()
    old, new = server.coi_user("active"), server.new_user()
    phone = subscriber(server, old).subscribe()
    server.home(old).rename(server.home(new))
    assert subscriptions(server, new).keys() == {phone.id}
    assert not subscriptions(server, old)
    server.deliver("lmtp", new, chat("by the new name"))
    assert phone.until("by the new name") == ["by the new name"]
    assert server.where(new) == {"by the new name": (server.chats, {"$Chat"})}
