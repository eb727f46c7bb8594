# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Where the entries are stored: in an SQL dict, and in a file that others could read."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from harness.config import DICT_SERVICE, by_dialect, metadata_dict
from harness.mails import chat, mail
from harness.push import subscriptions
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
