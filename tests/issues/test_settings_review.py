# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What values of settings did that make no sense, or that are different for each user.

Those of coi-push are in relay_settings_test.cc.
"""

import os
import pwd
import re

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from harness import config
from harness.mails import mail
from harness.push import eventually
from harness.push_service import answer
from harness.server import MAIL_UID

pytestmark = pytest.mark.private


@pytest.mark.parametrize(
    "name, value",
    [
        # imap ended with a panic at each login
        ("coi_push_capability", "WEB PUSH"),
        # clients got an answer that is no IMAP
        ("coi_push_capability", "WEB(PUSH"),
        ("coi_push_capability", "WEB]PUSH"),
        # clients were told that the push service had refused them, or was away
        ("webpush_subscription_expire", "0"),
        ("coi_push_register_timeout", "0"),
    ],
)
def test_CAP_1_SUB_7_a_value_without_sense_was_taken(make_server, log, name, value):
    log.expect(rf"coi: COI is off, because its settings can't be used: {name} is")
    server = make_server(push=((name, f'"{value}"'),))
    with server.imap(server.new_user()) as client:
        assert "COI" not in client.capabilities()
        assert client.command("SELECT INBOX").ok


def test_CAP_1_push_that_is_off_may_be_called_anything(make_server):
    server = make_server(push=(("coi_push", "no"), ("coi_push_capability", '"WEB PUSH"')))
    with server.imap(server.new_user()) as client:
        assert "COI" in client.capabilities()


def test_SUB_6_a_push_service_had_half_a_second_where_it_may_take_for_ever(
    make_server, subscriber, service
):
    forever = config.by_dialect(v2_3="4294967295 ms", v2_4="infinite")
    server = make_server(push=(("coi_push_register_timeout", forever),))
    one = subscriber(server, server.new_user())

    def slow(exchange):
        exchange.pause(1.5)
        return answer(201)(exchange)

    service.on(one.path, slow)
    response = one.set()
    assert response.ok, response


@pytest.mark.parametrize(
    "name, value",
    [
        ("coi_mailbox_root", "COI-%{user}"),
        ("coi_push_capability", config.by_dialect(v2_3="P-%u", v2_4="P-%{user}")),
        (
            "webpush_subscription_limit",
            config.by_dialect(v2_3="1%{uid}", v2_4="%{userdb:limit | default('12')}"),
        ),
    ],
)
def test_SUB_1_what_differs_between_users_kept_coi_push_from_starting(
    make_server, subscriber, name, value
):
    """It is nobody's, so that these variables meant nothing to it."""
    server = make_server(push=((name, value),))
    user = server.new_user()
    one = subscriber(server, user).subscribe()
    server.deliver("lmtp", user, mail("mail"))
    one.pushes(1)


def test_CLI_4_tokens_were_taken_for_a_gateway_that_is_none(make_server, log):
    log.expect(r"coi-push: Error: Can't start.*: coi_push_deltachat_gateway is empty")
    server = make_server(
        push=(("coi_push_deltachat", "yes"), ("coi_push_deltachat_gateway", '""'))
    )
    eventually(
        lambda: "coi_push_deltachat_gateway is empty" in server.log_text(), "a line in the log"
    )


@pytest.mark.parametrize("name", ("coi_push_key_dir", "coi_push_queue_dir", "coi_push_spool_dir"))
def test_MSG_12_a_folder_of_the_machines_was_taken_for_one_of_its_own(
    make_server, log, work_dir, name
):
    """And its mode was changed: think of /tmp. From a spool, all went after a day."""
    log.expect(r"coi-push: Fatal: .* must be a directory of dovecot, but it is root's")
    log.expect(r"service\(coi-push\).*(command startup failed|returned error 89)")
    folder = work_dir / f"of-others-{name}"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o1777)
    (folder / "file").write_text("of somebody else")
    before = folder.stat()
    server = make_server(push=((name, folder),))
    eventually(lambda: "but it is root's" in server.log_text(), "a line in the log")
    after = folder.stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


@pytest.mark.parametrize("what", ["link", "link of the service's", "folder of a user's"])
def test_MSG_12_what_isnt_a_folder_of_the_services_is_left_alone(make_server, log, work_dir, what):
    """Whoever may put a link there would get a folder of root's changed."""
    log.expect(r"coi-push: Fatal: .* must be a directory of ")
    log.expect(r"service\(coi-push\).*(command startup failed|returned error 89)")
    path = folder = work_dir / what.replace(" ", "-")
    if "link" in what:
        folder = work_dir / f"behind-{path.name}"
        path.symlink_to(folder)
    folder.mkdir()
    if "service" in what:
        os.chown(path, pwd.getpwnam("dovecot").pw_uid, -1, follow_symlinks=False)
    elif "user" in what:
        os.chown(folder, MAIL_UID, -1)
    before = folder.stat()
    server = make_server(push=(("coi_push_queue_dir", path),))
    eventually(
        lambda: re.search("coi-push: (Fatal|Error|Info)", server.log_text()), "it has begun"
    )
    after = folder.stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


def new_key():
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    "name, files",
    [
        ("coi_push_key_dir", {}),
        ("coi_push_key_dir", {"lost+found": 0}),
        # as an admin puts it there for several nodes, without giving it away
        ("coi_push_key_dir", {"vapid.pem": 0}),
        # what mail processes have left there is theirs
        (
            "coi_push_spool_dir",
            {"seal.pub": None, "1.handoff": MAIL_UID, "2.handoff.tmp": MAIL_UID},
        ),
    ],
    ids=["empty", "a disk's", "a key", "a spool"],
)
def test_MSG_12_a_folder_of_roots_that_is_the_services_is_taken(
    fresh_server, subscriber, log, work_dir, name, files
):
    log.expect("vapid.pem holds a secret|1.handoff is removed")
    service = pwd.getpwnam("dovecot").pw_uid
    folder = work_dir / f"of-roots-{name}-{len(files)}-{min(files, default='')}"
    folder.mkdir()
    for file, owner in files.items():
        (folder / file).write_bytes(new_key() if file == "vapid.pem" else b"x")
        (folder / file).chmod(0o644)
        os.chown(folder / file, service if owner is None else owner, -1)
    server = fresh_server(push=((name, folder),))
    subscriber(server, server.new_user()).subscribe()
    assert folder.stat().st_uid == service


def test_MSG_12_a_spool_where_the_keys_are_opened_their_folder_to_everybody(
    fresh_server, log, work_dir
):
    """It was refused, but not before it had got the mode of a spool."""
    log.expect(r"coi-push: Error: Can't start.*must be three directories")
    folder = work_dir / "keys-and-spool"
    server = fresh_server(push=(("coi_push_key_dir", folder), ("coi_push_spool_dir", folder)))
    eventually(lambda: "must be three directories" in server.log_text(), "a line in the log")
    assert folder.stat().st_mode & 0o7777 == 0o700
