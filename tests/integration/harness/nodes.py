# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Servers that share the VAPID key, and the users' homes, as nodes of one provider do."""

import shutil

from .push import eventually


def copy_vapid(one, other):
    """All keys that the one signs with."""
    for path in key_dir(one).glob("vapid*.pem"):
        copy = key_dir(other) / path.name
        shutil.copy(path, copy)
        shutil.chown(copy, "dovecot")


def key_dir(node):
    return node.dir / "push/keys"


def vapid(node):
    return key_dir(node) / "vapid.pem"


def make_nodes(fresh_server, **settings):
    one, other = (fresh_server(**settings) for _ in range(2))
    eventually(lambda: all(vapid(node).exists() for node in (one, other)), "both have a key")
    other.stop()
    other.homes.rmdir()
    other.homes.symlink_to(one.homes)
    copy_vapid(one, other)
    other.start()
    return one, other
