# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Users who are copied by dsync, to another server or in a backup, or who are renamed."""

import shutil

import pytest
from harness.config import metadata_dict, settings
from harness.doveadm import dsync
from harness.mails import chat, mail
from harness.push import read_vapid, subscriptions, vapid_key
from harness.server import ROOT
from test_fail_open import NO_STORAGE

pytestmark = pytest.mark.private

FILTER = f"{ROOT}/message-filter"
SEEN = "\\Seen"


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


@pytest.mark.parametrize(
    "entry, value", [("enabled", "true"), ("mailbox-root", "Elsewhere"), ("foo", "bar")]
)
def test_CFG_6_an_entry_that_we_refuse_kept_dsync_from_copying_INBOX(make_server, entry, value):
    """What another server has stored is for it to judge, and no reason to leave mail there."""
    before = metadata_dict("dovecot-attributes") + "protocol imap {\n  imap_metadata = yes\n}\n"
    source, target = make_server(coi=False, before=before), make_server()
    user = source.new_user()
    with source.imap(user) as client:
        client.must(f'SETMETADATA "" ({ROOT}/{entry} "{value}")')
    for number in range(3):
        source.deliver("lmtp", user, mail(f"mail {number}"))
    for how in ("backup", "sync"):
        done = dsync(source, user, target, how)
        assert done.returncode == 0, done.stderr
        with target.imap(user) as client:
            assert client.subjects("INBOX") == ["mail 0", "mail 1", "mail 2"]
            assert client.getmetadata(f"{ROOT}/enabled") == {
                f"{ROOT}/enabled": b"true" if entry == "enabled" else None
            }


@pytest.mark.parametrize(
    "target",
    [{"after": settings(coi_mailbox_root="a*b")}, {"coi": False, "before": NO_STORAGE}],
    ids=["bad setting", "no dict"],
)
def test_dsync_to_a_server_that_has_no_place_for_metadata(make_server, log, target):
    """It copied no mail at all. Our own servers, at least, don't ask for that."""
    log.expect("COI is off, because")
    source, target = make_server(), make_server(**target)
    user = source.coi_user("active")
    source.deliver("lmtp", user, mail("mail"))
    dsync(source, user, target)
    with target.imap(user) as client:
        assert client.subjects("INBOX") == ["mail"]


def test_a_backup_moved_mail_in_the_copy(make_server):
    server = make_server()
    user = server.coi_user("none")
    server.deliver("lmtp", user, chat("chat"))
    backup = server.home(user) / "backup"
    for step in range(3):
        done = server.run("doveadm", "backup", "-u", user, f"maildir:{backup}")
        assert done.returncode == 0, done.stderr
        if step == 0:
            with server.imap(user) as client:
                client.must("SELECT INBOX")
                client.store("1", "+FLAGS", SEEN)
                assert client.setmetadata({FILTER: "seen"}).ok
    assert len(list(backup.glob("cur/*"))) == 1
    assert not list(backup.glob(".COI.Chats/cur/*"))
