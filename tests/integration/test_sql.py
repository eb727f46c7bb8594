# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Metadata in a database that has a server of its own, set up as configure.md has it."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness.config import DICT_SERVICE, by_dialect
from harness.mails import chat, mail
from harness.nodes import make_nodes
from harness.push import eventually, subscriptions
from harness.server import ROOT
from test_nodes import SHARED

pytestmark = pytest.mark.private

MARIADB = shutil.which("mariadbd", path=os.environ["PATH"] + ":/usr/sbin")
DRIVER = Path("/usr/lib/dovecot/modules/dict/libdriver_mysql.so")
TABLES = """\
CREATE DATABASE dovecot;
USE dovecot;
CREATE TABLE metadata (username VARCHAR(255), box VARCHAR(40), attr VARCHAR(255),
 value TEXT, PRIMARY KEY (username, box, attr));
CREATE TABLE metadata_shared (box VARCHAR(40), attr VARCHAR(255),
 value TEXT, PRIMARY KEY (box, attr));
"""
MAP_2_3 = """\
map {{
  pattern = {type}/$box/$key
  table = {table}
  {username}
  value_field = value
  fields {{
    box = $box
    attr = $key
  }}
}}
"""
MAP_2_4 = """\
    dict_map {type}/$box/$key {{
      sql_table = {table}
      {username}
      value_field value {{
      }}
      key_field box {{
        value = $box
      }}
      key_field attr {{
        value = $key
      }}
    }}
"""


def maps(text):
    return text.format(
        type="priv", table="metadata", username="username_field = username"
    ) + text.format(type="shared", table="metadata_shared", username="")


def sql_dict(directory, socket):
    map_file = directory / "dict-sql.conf"
    map_file.write_text(f"connect = host={socket} user=root dbname=dovecot\n" + maps(MAP_2_3))
    return DICT_SERVICE + by_dialect(
        v2_3=f"dict {{\n  metadata = mysql:{map_file}\n}}\n"
        "mail_attribute_dict = proxy::metadata\n",
        v2_4="dict_server {\n  dict metadata {\n    driver = sql\n    sql_driver = mysql\n"
        f"    mysql {socket} {{\n      user = root\n      dbname = dovecot\n    }}\n"
        + maps(MAP_2_4)
        + "  }\n}\nmail_attribute {\n  dict proxy {\n    name = metadata\n  }\n}\n",
    )


class Database:
    """MariaDB, for whoever reaches its socket."""

    def __init__(self, directory):
        self.directory = directory
        self.socket = directory / "socket"
        self.process = None
        data = directory / "data"
        data.mkdir()
        self.command = [MARIADB, "--no-defaults", f"--datadir={data}", "--user=root"]
        bootstrap = [*self.command, "--bootstrap"]
        subprocess.run(bootstrap, input=TABLES.encode(), capture_output=True, check=True)

    def start(self):
        self.process = subprocess.Popen(
            [*self.command, "--skip-grant-tables", "--skip-networking", f"--socket={self.socket}"],
            stderr=(self.directory / "log").open("ab"),
        )
        eventually(self.socket.exists, "the database is up")
        self.socket.chmod(0o777)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@pytest.fixture(scope="module")
def database(work_dir):
    if not MARIADB or not DRIVER.exists():
        pytest.skip("mariadb-server-core or dovecot-mysql isn't here")
    directory = work_dir / "mariadb"
    directory.mkdir()
    database = Database(directory)
    database.start()
    yield database
    database.stop()


@pytest.fixture
def server(make_server, database):
    return make_server(before=sql_dict(database.directory, database.socket))


def test_CAP_4_SUB_2_SUB_4_MSG_1_all_of_it_works(server, subscriber):
    user = server.coi_user("active")
    phone, tablet = subscriber(server, user), subscriber(server, user)
    phone.extra = {"client": "It's 100 % \\ \"ca\u00f1a\"\n\U0001f600"}
    phone.subscribe()
    tablet.subscribe()
    assert phone.stored()["client"] == phone.extra["client"]
    server.deliver("lmtp", user, mail("mail"))
    server.deliver("lda", user, chat("chat"))
    assert phone.until("chat") == tablet.until("chat") == ["mail", "chat"]
    assert server.where(user)["chat"] == (server.chats, {"$Chat"})
    assert tablet.remove().ok
    assert subscriptions(server, user).keys() == {phone.id}


def test_ENA_6_folders_can_be_deleted(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must("CREATE other")
        client.must("DELETE other")
        client.must(f"DELETE {server.chats}")
        assert client.getmetadata(ROOT, depth=1).keys() == {
            f"{ROOT}/mailbox-root",
            f"{ROOT}/message-filter",
        }


def test_ENA_3_SUB_2_SUB_7_MSG_1_nodes_that_share_it(fresh_server, database, subscriber):
    before = sql_dict(database.directory, database.socket) + SHARED
    one, other = make_nodes(fresh_server, mail_format="sdbox", before=before)
    user = one.coi_user("active")
    device, stays = subscriber(one, user), subscriber(other, user).subscribe()
    text = device.register()
    device.server = other
    assert device.validate(text).ok
    for node in (one, other):
        node.deliver("lmtp", user, chat(f"chat at {node.name}"))
    assert set(device.subjects(2)) == {f"chat at {node.name}" for node in (one, other)}
    with one.imap(user) as first, other.imap(user) as second:
        assert first.setmetadata({f"{ROOT}/message-filter": "seen"}).ok
        other.deliver("lmtp", user, chat("read"))
        second.must("SELECT INBOX")
        second.store("1", "+FLAGS", "\\Seen")
        assert device.remove().ok
        assert first.setmetadata({f"{ROOT}/enabled": None}).ok
    for node in (one, other):
        node.deliver("lmtp", user, chat(f"mail at {node.name}"))
    assert len(stays.subjects(5)) == 5
    assert "mail" not in " ".join(device.subjects())
    where = {subject: folder for subject, (folder, _) in one.where(user).items()}
    assert where == {
        **{f"chat at {node.name}": one.chats for node in (one, other)},
        **{f"mail at {node.name}": "INBOX" for node in (one, other)},
        "read": one.chats,
    }


@pytest.fixture
def bereaved(fresh_server, database):
    """One whose database may go away."""
    server = fresh_server(before=sql_dict(database.directory, database.socket))
    server.fragile = "dict"
    yield server
    # Dovecot's own may wait for an answer that never comes, and outlive their master.
    server.kills = True
    for pid in server.children("dict"):
        os.kill(pid, signal.SIGKILL)


def test_FIL_10_ENA_11_it_may_be_away_for_a_while(bereaved, database, log):
    log.expect(r"service\(dict\)|(dict|imap|lmtp|lda)\b.*: (Error|Warning): ")
    server = bereaved
    user = server.coi_user("active")
    with server.imap(user) as client:
        database.stop()
        server.deliver("lmtp", user, chat("meanwhile"))
        # Dovecot 2.3.21 gives up after 30 s only.
        client.sock.settimeout(60)
        assert client.setmetadata({f"{ROOT}/message-filter": "seen"}).status == "NO"
        client.must("SELECT INBOX")
        database.start()
        # Dovecot connects anew when it likes.
        eventually(
            lambda: client.setmetadata({f"{ROOT}/message-filter": "active"}).ok,
            "it is used again",
        )
    server.deliver("lda", user, chat("after"))
    where = {subject: folder for subject, (folder, _) in server.where(user).items()}
    assert where == {"meanwhile": "INBOX", "after": server.chats}
