# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""doveadm coi: what an admin sees of a user."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from harness import instruments
from harness.config import by_dialect, passwd_file, settings
from harness.doveadm import ask, rows
from harness.gateway import Gateway, new_token, set_token
from harness.mails import chat, mail
from harness.ports import HeldPort
from harness.push import eventually, service_pids
from harness.push_service import PushService
from harness.replicas import doveadm_service
from test_chats_unusable import ACL

pytestmark = pytest.mark.private

TEMPFAIL = 75


def test_who_has_never_heard_of_COI(server):
    user = server.new_user()
    assert rows(server, "status", user) == [
        {
            "enabled": "no",
            "filter": "-",
            "root": server.chats.rpartition(server.separator)[0],
            "chats": "-",
            "contacts": "-",
            "subscriptions": "0",
            "device_tokens": "0",
        }
    ]
    assert rows(server, "subscriptions", user) == []
    # and it has made nothing
    assert not list(server.homes.joinpath(user).rglob("*COI*"))
    assert not list(server.homes.joinpath(user).rglob("*dovecot-attributes*"))


def test_who_has_COI_and_push(server, subscriber):
    user = server.coi_user("active")
    server.deliver("lmtp", user, chat("one"))
    server.deliver("lmtp", user, chat("two"))
    first = subscriber(server, user, msgtype="chat").subscribe()
    second = subscriber(server, user, path="/push/secret?token=secret")
    second.register()
    (status,) = rows(server, "status", user)
    assert status == {
        "enabled": "yes",
        "filter": "active",
        "root": server.chats.rpartition(server.separator)[0],
        "chats": "2",
        "contacts": "0",
        "subscriptions": "2",
        "device_tokens": "0",
    }
    one, two = rows(server, "subscriptions", user)
    assert len(one.pop("created")) == len(two.pop("created")) == len("2026-11-28 12:00:00")
    host = first.service.origin.partition("://")[2]
    for shown, subscription, validated in ((one, first, "yes"), (two, second, "no")):
        assert shown == {
            "id": subscription.id,
            "msgtype": subscription.msgtype,
            "validated": validated,
            "push_service": host,
            "client": subscription.value["client"],
            "device": subscription.value["device"],
        }
    for form in ("table", "tab", "flow", "pager", "json"):
        said = ask(server, "subscriptions", user, form)
        assert said.returncode == 0
        assert b"secret" not in said.stdout + said.stderr
        assert first.value["resource"]["keys"]["auth"].encode() not in said.stdout


def test_folders_that_an_ACL_keeps_from_the_user(make_server):
    """The admin may look at them all the same."""
    server = make_server(before=ACL)
    user = server.coi_user("active")
    server.deliver("lmtp", user, chat("chat"))
    for folder in ("Chats", "Contacts"):
        server.write(user, f"maildir/.COI.{folder}/dovecot-acl", "owner l\n")
    (status,) = rows(server, "status", user)
    assert (status["chats"], status["contacts"]) == ("1", "0")


def test_the_names_of_clients_are_foreign_bytes(server, subscriber):
    one = subscriber(server, server.new_user())
    one.extra = {"client": "\x1b]0;title\x07\n\u202eclient", "device": "ä" * 64}
    one.subscribe()
    (shown,) = rows(server, "subscriptions", one.user)
    assert "\x1b" not in shown["client"]
    assert "\n" not in shown["client"]
    assert shown["device"] == "ä" * 64


def test_a_device_token(make_server, authority):
    with PushService(authority.certificate("127.0.0.1")) as service:
        server = make_server(push=Gateway(service).settings)
        user, token = server.new_user(), new_token()
        assert set_token(server, user, token) == "OK"
        (status,) = rows(server, "status", user)
        assert (status["subscriptions"], status["device_tokens"]) == ("0", "1")
        (shown,) = rows(server, "subscriptions", user)
        assert (shown["msgtype"], shown["push_service"], shown["client"]) == ("token", "-", "")
        assert token.encode() not in ask(server, "subscriptions", user).stdout


def test_without_push(make_server):
    server = make_server(push=(("coi_push", "no"),))
    user = server.new_user()
    (status,) = rows(server, "status", user)
    assert (status["subscriptions"], status["device_tokens"]) == ("-", "-")
    assert rows(server, "subscriptions", user) == []


def test_all_users(fresh_server, work_dir):
    passwd = work_dir / "passwd-of-all"
    passwd.write_text("")
    server = fresh_server(after=passwd_file(passwd))
    users = [server.coi_user("seen"), server.new_user()]
    passwd.write_text("".join(f"{user}:::::{server.homes}/{user}::\n" for user in users))
    done = server.run("doveadm", "-f", "tab", "coi", "status", "-A")
    lines = [line.split(b"\t") for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines] == [
        [b"Username", b"enabled", b"filter"],
        [users[0].encode(), b"yes", b"seen"],
        [users[1].encode(), b"no", b"-"],
    ], done
    # A user without subscriptions has no row.
    done = server.run("doveadm", "-f", "json", "coi", "subscriptions", "-A")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


@pytest.fixture
def no_push_library(tmp_path):
    if not os.environ.get("COI_TEST_MODULES_ARE_A_COPY"):
        pytest.skip("not to be tried with this machine's own modules")
    library = Path("/usr/lib/dovecot/modules/coi/libcoi_push.so")
    shutil.move(library, tmp_path)
    yield
    shutil.move(tmp_path / library.name, library)


@pytest.mark.parametrize("command", ["status", "subscriptions"])
def test_it_says_which_library_is_missing(server, no_push_library, command):
    done = ask(server, command, server.new_user())
    assert done.returncode == TEMPFAIL
    assert b"coi: Can't load the push library" in done.stderr
    assert b"The core library" not in done.stderr


@pytest.mark.parametrize("command", ["status", "subscriptions"])
def test_where_COI_is_off(fresh_server, log, command):
    log.expect("coi: COI is off, because its settings can't be used")
    server = fresh_server(after=settings(coi_mailbox_root="a//b"))
    done = ask(server, command, server.new_user())
    assert done.returncode == TEMPFAIL
    assert b"coi_mailbox_root" in done.stderr
    assert b"COI is off for this user" in done.stderr


@pytest.mark.parametrize("push", ["yes", "no"])
def test_metadata_that_cannot_be_read(fresh_server, log, push):
    log.expect("Can't read the user's metadata")
    server = fresh_server(push=(("coi_push", push),))
    user = server.coi_user("active")
    (attributes,) = server.homes.joinpath(user).rglob("dovecot-attributes")
    attributes.chmod(0)
    os.chown(attributes, 0, 0)
    done = ask(server, "status", user)
    assert done.returncode == TEMPFAIL
    assert b"Can't read the user's metadata" in done.stderr
    done = ask(server, "subscriptions", user)
    assert done.returncode == (TEMPFAIL if push == "yes" else 0), done


def test_a_folder_that_cannot_be_read(server, log):
    log.expect("COI.Chats")
    user = server.coi_user("active")
    folder = server.home(user) / "maildir/.COI.Chats"
    folder.chmod(0)
    os.chown(folder, 0, 0)
    done = ask(server, "status", user)
    assert done.returncode == TEMPFAIL
    assert f"Can't look at {server.chats}: ".encode() in done.stderr


def test_without_the_plugin_doveadm_is_as_ever(fresh_server):
    server = fresh_server(coi=False)
    user = server.new_user()
    assert server.run("doveadm", "mailbox", "list", "-u", user).returncode == 0
    done = server.run("doveadm", "coi", "status", "-u", user)
    assert done.returncode != 0


# -- doveadm coi queue --


def ask_queue(server, form="json"):
    return server.run("doveadm", "-f", form, "coi", "queue")


def queue(server):
    """The row of all, and those of the services by their names."""
    done = ask_queue(server)
    assert (done.returncode, done.stderr) == (0, b""), done
    first, *rest = json.loads(done.stdout)
    assert first["service"] == "all"
    return first, {row["service"]: row for row in rest}


def assert_refused(done, text):
    assert (done.returncode, done.stdout.strip(b"[]")) == (TEMPFAIL, b""), done
    assert re.search(text, done.stderr.decode()), done


def test_a_queue_with_nothing_in_it(fresh_server):
    server = fresh_server()
    none = dict.fromkeys(
        ("waiting", "sending", "delivered", "deferred", "dropped", "gone"), "0"
    ) | dict.fromkeys(("failures", "next", "oldest"), "-")
    assert queue(server) == ({"service": "all", **none}, {})


def test_which_service_is_at_fault(fresh_server, subscriber, service, make_service, log):
    log.expect("coi-push")
    server = fresh_server()
    broken = make_service()
    users = [server.new_user() for _ in range(3)]
    devices = [
        subscriber(server, user, service=broken, path=f"/push/secret?token={user}").subscribe()
        for user in users
    ]
    well = subscriber(server, users[0]).subscribe()
    before, _ = queue(server)
    broken.down()
    began = time.localtime(time.time() - 1)
    for user in users:
        server.deliver("lmtp", user, mail("one"))
        server.deliver("lmtp", user, mail("two"))
    well.pushes(2)

    def is_found():
        every, services = queue(server)
        row = services.get(broken.origin)
        found = row and int(row["failures"]) >= 3 and row["next"] != "now"
        return found and list(services) == [broken.origin] and (every, row)

    every, row = eventually(is_found, "the service that is down is found to be")
    assert int(every["delivered"]) == int(before["delivered"]) + 2
    assert int(every["deferred"]) >= 3
    assert (every["waiting"], row["waiting"]) == ("6", "6")
    assert (row["delivered"], row["dropped"], row["gone"]) == ("0", "0", "0")
    assert row["next"] > row["oldest"] >= time.strftime("%Y-%m-%d %H:%M:%S", began)
    for form in ("table", "tab", "flow", "pager", "json"):
        done = ask_queue(server, form)
        assert (done.returncode, done.stderr) == (0, b"")
        assert broken.origin.encode() in done.stdout
        for secret in ["secret", "push/", *users, *(one.id for one in devices)]:
            assert secret.encode() not in done.stdout
    # The next process knows it from the queue alone.
    server.restart(server.settings)
    eventually(lambda: service_pids(server), "the service runs")
    every, services = queue(server)
    assert every["delivered"] == "0"
    assert services[broken.origin]["waiting"] == "6"
    assert services[broken.origin]["oldest"] == row["oldest"]


STRANGER = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
sock.sendall(b"1\\tstatus\\n")
sys.stdout.buffer.write(sock.makefile("rb").readline())
"""


def test_the_queue_is_not_for_mail_users(fresh_server):
    server = fresh_server()
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, server.dir / "run/coi-push"], capture_output=True
    )
    assert (done.stdout, done.stderr) == (b"-\tnot-permitted\n", b"")


def test_doveadm_says_that_the_queue_is_not_for_mail_users(fresh_server):
    server = fresh_server()
    done = subprocess.run(
        ["doveadm", "-c", server.conf, "coi", "queue"],
        user=65534,
        group=65534,
        capture_output=True,
        env=instruments.environment(),
    )
    assert_refused(done, "coi-push tells its queue to root and to its own user only")


def test_the_queue_of_a_service_that_is_stopped(fresh_server):
    server = fresh_server()
    server.stop()
    assert_refused(ask_queue(server), "coi-push doesn't answer: connect\\(.*coi-push\\) failed")


def test_the_queue_where_push_is_off(fresh_server):
    server = fresh_server(push=(("coi_push", "no"),))
    assert_refused(ask_queue(server), "coi-push doesn't answer: .*Is push on")


def test_the_queue_of_a_service_that_hangs(fresh_server):
    server = fresh_server()
    queue(server)
    (pid,) = service_pids(server)
    os.kill(pid, signal.SIGSTOP)
    try:
        done = ask_queue(server)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert_refused(done, "coi-push doesn't answer: timed out")


def test_what_another_machine_asks(fresh_server, subscriber):
    """By Dovecot's HTTP API and by doveadm -S, as operate.md has it."""
    ports = HeldPort(), HeldPort()
    server = fresh_server(
        before=doveadm_service(ports[0].number)
        + "doveadm_api_key = key\nservice doveadm {\n  inet_listener http {\n"
        + by_dialect(v2_3="    address = 127.0.0.1\n", v2_4="    listen = 127.0.0.1\n")
        + f"    port = {ports[1].number}\n  }}\n}}\n"
    )
    one = subscriber(server, server.coi_user("active")).subscribe()

    def by_http(*commands, **values):
        """What the last of them says."""
        given = [[command, values if command != "coiQueue" else {}, "tag"] for command in commands]
        request = urllib.request.Request(
            f"http://127.0.0.1:{ports[1].number}/doveadm/v1",
            data=json.dumps(given).encode(),
            headers={
                "Authorization": "X-Dovecot-API " + base64.b64encode(b"key").decode(),
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answers = json.load(response)
        assert {kind for kind, _, _ in answers} == {"doveadmResponse"}, answers
        return answers[-1][1]

    (queue,) = by_http("coiQueue")
    assert (queue["service"], queue["delivered"]) == ("all", "1")
    # where the server has been the user's meanwhile
    assert by_http("coiStatus", "coiQueue", user=one.user) == [queue]
    for name in ("status", "subscriptions"):
        here = rows(server, name, one.user)
        assert by_http(f"coi{name.capitalize()}", user=one.user) == here
        there = ("-S", f"127.0.0.1:{ports[0].number}", "-u", one.user)
        assert json.loads(server.doveadm("-f", "json", "coi", name, *there)) == here
    for port in ports:
        port.release()
