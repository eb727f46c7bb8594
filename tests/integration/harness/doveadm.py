# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""doveadm, for one user."""

import json

from . import instruments


def ask(server, command, user, form="json"):
    return server.run("doveadm", "-f", form, "coi", command, "-u", user)


def rows(server, command, user):
    done = ask(server, command, user)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def dsync(source, user, target, how="backup", options=()):
    """From a server to another one."""
    return source.run(
        *("doveadm", how, "-u", user, *options),
        # Without what doveadm tells its children about its own configuration.
        *("env", "-i", "PATH=/usr/sbin:/usr/bin:/bin"),
        *(f"{name}={value}" for name, value in instruments.ENV.items()),
        *("doveadm", "-c", str(target.conf), "dsync-server", "-u", user),
    )
