# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""The folders of coi-push, in its settings: one that is somebody else's was changed, or used."""

import os
import pwd
import re

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from harness.push import eventually
from harness.server import MAIL_UID

pytestmark = pytest.mark.private


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
