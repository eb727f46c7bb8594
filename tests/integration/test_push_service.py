# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""coi-push as a service of Dovecot's: it starts, stops, reloads, and owns what it should."""

import fcntl
import os
import pwd
import re
import shutil
import socket
import stat
import time
from pathlib import Path

import pytest
from harness import config
from harness.push import eventually

pytestmark = pytest.mark.private


def service_pids(server):
    """The server's coi-push processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().split(b"\0")[0].decode()
            parent = int(re.search(r"^PPid:\s+(\d+)", (path / "status").read_text(), re.M).group(1))
        except OSError:  # it has just ended
            continue
        if command.endswith("coi-push") and parent == server.process.pid:
            found.append(int(path.name))
    return sorted(found)


def ask(server, line):
    """Sends a line to the service's socket, and returns its answer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(server.dir / "run/coi-push"))
        sock.sendall(line)
        return sock.makefile("rb").readline()


def await_service(server, other_than=()):
    deadline = time.monotonic() + 60
    while True:
        pids = [pid for pid in service_pids(server) if pid not in other_than]
        if len(pids) == 1 and ask(server, b"1\tvapid\n").startswith(b"+\tok\tkey="):
            return pids[0]
        assert time.monotonic() < deadline, server.log_text()
        time.sleep(0.05)


def owner_and_mode(path):
    status = os.stat(path)
    return status.st_uid, stat.S_IMODE(status.st_mode)


def test_the_service_gives_up_root(fresh_server):
    server = fresh_server()
    pid = await_service(server)
    text = Path(f"/proc/{pid}/status").read_text()
    uids = set(re.search(r"^Uid:(.*)$", text, re.M).group(1).split())
    assert len(uids) == 1 and uids != {"0"}
    assert re.search(r"^CapEff:\s+0+$", text, re.M)


def test_its_directories_are_its_own(fresh_server):
    server = fresh_server()
    pid = await_service(server)
    uid = os.stat(f"/proc/{pid}").st_uid
    push = server.dir / "push"
    assert owner_and_mode(push / "keys") == (uid, 0o700)
    assert owner_and_mode(push / "queue") == (uid, 0o700)
    assert owner_and_mode(push / "spool") == (uid, 0o1733)
    for name in ("vapid.pem", "storage.pem"):
        assert owner_and_mode(push / "keys" / name) == (uid, 0o600)


def test_its_socket_can_be_closed_to_others(fresh_server):
    closed = "  unix_listener coi-push {\n    mode = 0600\n    user = mail\n  }\n"
    server = fresh_server(after="service coi-push {\n" + closed + "}\n")
    assert owner_and_mode(server.dir / "run/coi-push") == (pwd.getpwnam("mail").pw_uid, 0o600)


def test_a_reload_brings_one_new_process_and_keeps_the_keys(fresh_server):
    server = fresh_server()
    before = await_service(server)
    key = (server.dir / "push/keys/vapid.pem").read_bytes()
    server.reload()
    await_service(server, other_than=(before,))
    assert (server.dir / "push/keys/vapid.pem").read_bytes() == key


def test_killed_it_is_started_again(fresh_server, log):
    log.expect(r"service\(coi-push\).*killed with signal 9")
    server = fresh_server()
    before = await_service(server)
    os.kill(before, 9)
    assert await_service(server, other_than=(before,)) != before


# It takes 25 s.
def test_MSG_10_two_never_work_on_one_queue(fresh_server, log, work_dir):
    """As after a reload: what one has under way the other would send, too."""
    log.expect("coi-push: Error: Can't start.*is locked by another process")
    folder = work_dir / "queue-of-another"
    folder.mkdir()
    with open(folder / "queue.lock", "w") as lock:
        for path in (folder, folder / "queue.lock"):
            shutil.chown(path, "dovecot")
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = fresh_server(push=(("coi_push_queue_dir", folder),))
        eventually(lambda: "is locked by another" in server.log_text(), "it has given up")
        # It tries again after 2 s, and waits again.
        time.sleep(4)
        assert [path.name for path in folder.iterdir()] == ["queue.lock"]
    await_service(server)


def test_MSG_10_clients_that_have_left_make_room(fresh_server):
    """Each delivery is one, and there may only be so many at once."""
    server = fresh_server(after="service coi-push {\n  client_limit = 5\n}\n")
    await_service(server)
    for _ in range(20):
        assert ask(server, b"1\tvapid\n").startswith(b"+\tok\t")


def test_with_push_off_it_makes_nothing(fresh_server):
    server = fresh_server(push=(("coi_push", "no"),))
    with server.imap(server.new_user()):
        pass
    assert not (server.dir / "push").exists()


@pytest.mark.parametrize(
    "name, value",
    [
        ("coi_push_networks", "127.0.0.1/33"),
        ("coi_push_vapid_subject", "admin@example.org"),
        ("coi_push_ttl", "soon"),
        ("coi_push_ttl", "0 s"),
        ("coi_push_key_dir", "keys"),
        ("coi_push_spool_dir", "push/spool"),
    ],
)
def test_a_bad_setting_stops_push_and_no_mail(fresh_server, log, name, value):
    if value == "soon" and config.dialect() == "2.4":
        pytest.skip("Dovecot itself refuses it")
    log.expect(rf"coi-push.*(Fatal|Error): .*({name}|The contact for push services)")
    log.expect(r"service\(coi-push\).*(command startup failed|returned error 89)")
    server = fresh_server(push=((name, value),))
    user = server.new_user()
    with server.imap(user) as client:
        assert "COI" in client.capabilities()
        assert client.command("SELECT INBOX").ok
    deadline = time.monotonic() + 60
    while not re.search("coi-push: (Fatal: |Error: Can't start)", server.log_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
