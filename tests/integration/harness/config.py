# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Configuration of a private Dovecot, in the dialect of the one that is installed."""

import functools
import os
import re
import subprocess
from dataclasses import dataclass


@functools.lru_cache(maxsize=None)
def version():
    """Dovecot's version as a string of three numbers, such as 2.3.19."""
    out = subprocess.run(["dovecot", "--version"], check=True, capture_output=True, text=True)
    return re.match(r"\d+\.\d+\.\d+", out.stdout).group()


def dialect():
    return ".".join(version().split(".")[:2])


def by_dialect(**snippets):
    """The snippet for the installed Dovecot: by_dialect(v2_3="...", v2_4="...")."""
    return snippets["v" + dialect().replace(".", "_")]


def plugins(*names, protocol=None):
    """What an admin writes to add plugins, for all processes or within one protocol."""
    body = by_dialect(
        v2_3="mail_plugins = $mail_plugins " + " ".join(names) + "\n",
        v2_4="mail_plugins {\n" + "".join(f"  {name} = yes\n" for name in names) + "}\n",
    )
    return f"protocol {protocol} {{\n{body}}}\n" if protocol else body


def settings(**values):
    """Settings of plugins, which 2.3 keeps in a section of their own."""
    lines = "".join(f"{name} = {value}\n" for name, value in values.items())
    return by_dialect(v2_3=f"plugin {{\n{lines}}}\n", v2_4=lines)


def metadata_dict(file_name):
    """Dovecot's own metadata storage, as an admin sets it."""
    return by_dialect(
        v2_3=f"mail_attribute_dict = file:%h/{file_name}\n",
        v2_4="mail_attribute {\n  dict file {\n    path = %{home}/" + file_name + "\n  }\n}\n",
    )


# So that mail processes reach it.
DICT_SERVICE = "service dict {\n  unix_listener dict {\n    mode = 0666\n  }\n}\n"


def remote_dict(file, socket=""):
    """Metadata in a file by way of the service dict, or of a socket that leads there."""
    return DICT_SERVICE + by_dialect(
        v2_3=f"dict {{\n  metadata = file:{file}\n}}\n"
        f"mail_attribute_dict = proxy:{socket}:metadata\n",
        v2_4="dict_server {\n  dict metadata {\n    driver = file\n"
        f"    dict_file_path = {file}\n  }}\n}}\n"
        "mail_attribute {\n  dict proxy {\n    name = metadata\n"
        + (f"    socket_path = {socket}\n" if socket else "")
        + "  }\n}\n",
    )


def quota(limit="4k"):
    """A quota that every user's mail as a whole has to fit in."""
    return plugins("quota") + by_dialect(
        v2_3="plugin {\n  quota = count:User quota\n  quota_vsizes = yes\n"
        f"  quota_rule = *:storage={limit}\n  quota_grace = 0\n}}\n",
        v2_4=f'quota "User quota" {{\n  driver = count\n  storage_size = {limit}\n'
        "  storage_grace = 0\n}\n",
    )


def locked_config():
    """Of mail that only IMAP can decrypt: what is before ours, behind it, and doveadm's option."""
    password = "mail_crypt_private_password"
    if by_dialect(v2_3=True, v2_4=False):
        options = {"mail_crypt_curve": "secp521r1", "mail_crypt_save_version": "2"}
        options["mail_crypt_require_encrypted_user_key"] = "yes"
        # a setting of a plugin that deliveries don't have
        in_imap_only = f"protocol imap {{\n{settings(**{password: 'secret'})}}}\n"
        after = settings(**options) + in_imap_only
        given = f"plugin/{password}=secret"
    else:
        key = "crypt_user_key_password = secret\n"
        after = "crypt_user_key_curve = secp521r1\ncrypt_user_key_require_encrypted = yes\n"
        after += f"protocol imap {{\n{key}}}\n"
        given = "crypt_user_key_password=secret"
    return metadata_dict("dovecot-attributes"), plugins("mail_crypt") + after, given


@dataclass(frozen=True)
class Config:
    """One server's configuration. Equal ones share a server in a test session."""

    # Is the shipped file included? Without it the server is the stock one.
    coi: bool = True
    mail_format: str = "maildir"
    prefix: str = ""
    separator: str = "/"
    sieve: bool = False
    # Has every user a home? Without one the mail is still in a directory of its own.
    home: bool = True
    # Settings of push, besides those that every server under test has.
    push: tuple = ()
    # What stands ahead of the shipped file, and behind it.
    before: str = ""
    after: str = ""
    # Processes of imap-login and imap are used again: a new one for each login would take
    # most of the tests' time. Not where the server is to be reloaded: a login that is
    # going on then is cut off.
    keep_logins: bool = True
    keep_imap: bool = True
    # Further fields of every user's userdb entry, as NAME=VALUE.
    userdb_fields: tuple = ()
    # Instead of the passdb that lets everybody in.
    passdb: str = ""
    # Instead of the userdb that knows everybody.
    userdb: str = ""
    # Whose the mail is, by that userdb; 0 for who it is with all other servers.
    mail_uid: int = 0


BASE_2_3 = """\
ssl = no
disable_plaintext_auth = no
mail_location = {mail_format}:{homes}/%u/{mail_format}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp_port}
  }}
}}
"""

BASE_2_4 = """\
ssl = no
auth_allow_cleartext = yes
mail_driver = {mail_format}
mail_path = {homes}/%{{user}}/{mail_format}
service lmtp {{
  inet_listener lmtp {{
    listen = 127.0.0.1
    port = {lmtp_port}
  }}
}}
"""

PASSDB_2_3 = """\
passdb {{
  driver = static
  args = password={password}
}}
"""

PASSDB_2_4 = """\
passdb static {{
  password = {password}
}}
"""

USERDB_2_3 = """\
userdb {{
  driver = static
  args = uid={uid} gid={uid} {home_field} allow_all_users=yes {userdb_fields}
}}
"""

USERDB_2_4 = """\
userdb static {{
  fields {{
    uid = {uid}
    gid = {uid}
    {home_field}
    {userdb_fields}
  }}
  userdb_static_allow_all_users = yes
}}
"""

COMMON = """\
base_dir = {run}
state_dir = {state}
instance_name = {name}
log_path = {log}
listen = 127.0.0.1
postmaster_address = postmaster@localhost
service imap-login {{
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
  {reuse}
}}
service imap {{
  process_limit = 200
  {reuse_imap}
}}
namespace inbox {{
  inbox = yes
  prefix = {prefix}
  separator = {separator}
}}
"""


def sieve_snippet():
    both = plugins("sieve", protocol="lmtp") + plugins("sieve", protocol="lda")
    return both + by_dialect(
        v2_3="plugin {\n  sieve = file:~/sieve;active=~/.dovecot.sieve\n}\n",
        v2_4="sieve_script personal {\n  driver = file\n  path = ~/sieve\n"
        "  active_path = ~/.dovecot.sieve\n}\n",
    )


def import_environment(values):
    """What gives variables of the environment to Dovecot's processes."""
    return by_dialect(
        v2_3="import_environment = $import_environment "
        + " ".join(f"{name}={value}" for name, value in values.items())
        + "\n",
        v2_4="import_environment {\n"
        + "".join(f"  {name} = {value}\n" for name, value in values.items())
        + "}\n",
    )


def faults(**variables):
    """Preloads fault.c, which tells what its variables COI_FAULT_… mean."""
    library = f"{os.environ['COI_TEST_BUILD']}/tests/coi-fault.so"
    named = {f"COI_FAULT_{name.upper()}": value for name, value in variables.items()}
    return import_environment({"LD_PRELOAD": library, **named})


def passwd_file(path):
    """A userdb that knows whom the file names."""
    return by_dialect(
        v2_3=f"userdb {{\n  driver = passwd-file\n  args = {path}\n}}\n",
        v2_4=f"userdb passwd-file {{\n  passwd_file_path = {path}\n}}\n",
    )


def push_settings(config, push_dir):
    """Push services of the tests are on this machine."""
    values = {
        "coi_push_key_dir": f"{push_dir}/keys",
        "coi_push_queue_dir": f"{push_dir}/queue",
        "coi_push_spool_dir": f"{push_dir}/spool",
        "coi_push_vapid_subject": "mailto:admin@example.org",
        # A loaded machine must not make a difference.
        "coi_push_handoff_timeout": "20 s",
        "coi_push_networks": "127.0.0.0/8",
        "coi_push_hosts_http": "127.0.0.1",
        # conftest.py's authority
        "coi_push_ssl_ca_file": f"{push_dir.parent.parent}/authority/ca.pem",
    }
    values.update(config.push)
    return settings(**{name: value for name, value in values.items() if value is not None})


def render(config, shipped_conf, push_dir, **values):
    """The text of a dovecot.conf. shipped_conf is the path (a glob) of the installed file."""
    fields = by_dialect(v2_3=" ", v2_4="\n    ").join(
        by_dialect(v2_3="{}={}", v2_4="{} = {}").format(*field.split("=", 1))
        for field in config.userdb_fields
    )
    head = by_dialect(
        v2_3="protocols = imap lmtp\n",
        v2_4=f"dovecot_config_version = {version()}\ndovecot_storage_version = {version()}\n"
        "protocols {\n  imap = yes\n  lmtp = yes\n}\n",
    )
    home = by_dialect(v2_3="home={homes}/%u", v2_4="home = {homes}/%{{user}}")
    base = by_dialect(v2_3=BASE_2_3, v2_4=BASE_2_4) + COMMON
    passdb = by_dialect(v2_3=PASSDB_2_3, v2_4=PASSDB_2_4)
    userdb = by_dialect(v2_3=USERDB_2_3, v2_4=USERDB_2_4)
    reuse = by_dialect(v2_3="service_count = 0", v2_4="restart_request_count = unlimited")
    values.update(
        reuse=reuse if config.keep_logins else "",
        # A session may be in a process that another user has had; some are in new ones.
        reuse_imap=by_dialect(v2_3="service_count = 25", v2_4="restart_request_count = 25")
        if config.keep_logins and config.keep_imap
        else "",
        home_field=home.format(**values) if config.home else "",
        mail_format=config.mail_format,
        prefix=config.prefix,
        separator=config.separator,
        userdb_fields=fields,
    )
    return "".join(
        (
            head,
            base.format(**values),
            config.passdb or passdb.format(**values),
            config.userdb or userdb.format(**values),
            values["extra"],
            config.before,
            f"!include {shipped_conf}\n" + push_settings(config, push_dir) if config.coi else "",
            values["extra_behind_ours"],
            config.after,
            # Last, because 2.3 expands $mail_plugins where it stands.
            sieve_snippet() if config.sieve else "",
        )
    )
