# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Two servers, one with the plugin and one without, that are to be alike."""

import difflib
import gzip
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.config import Config, by_dialect, metadata_dict, plugins, quota, settings
from harness.ports import HeldPort
from harness.server import HARMLESS, ROOT

from .player import Player
from .script import Script

# What differs between two lives of one user on one server, too.
UNIQUE = [
    # names of files in a maildir, but not the sizes in them
    (re.compile(rb"\d{10}\.M\d+P\d+(Q\d+)?\.[^,: \n\r/\"]+"), b"FILE"),
    (re.compile(rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"), b"GUID"),
    # ids of sessions
    (re.compile(rb"(?<![\w+/])(?![\w/]*vendor)[\w+/]{22}(:\w+)?(?![\w+/])"), b"SESSION"),
    (re.compile(rb"<[\w+/]{16}>"), b"<SESSION>"),
    (re.compile(rb"\w{3}, +\d+ \w{3} 20[^1]\d [\d:]{8} [+-]\d{4}( \(\w+\))?"), b"DATE"),
    (re.compile(rb"[ \d]\d-\w{3}-20[^1]\d [\d:]{8} [+-]\d{4}"), b"DATE"),
    (re.compile(rb"20[^1]\d-\d\d-\d\d [\d:]{8}( \(\w+\))?"), b"DATE"),
    (re.compile(rb"(UIDVALIDITY|(COPY|APPEND)UID) \d{10}"), rb"\1 VALID"),
    (re.compile(rb"(uidvalidity[=: \"]+)\d{10}"), rb"\1VALID"),
    (re.compile(rb"\(\d+\.\d+ \+ [^)]*secs\)"), b"TOOK"),
    # where a mail to several, whose first copy can't be read, has failed: we look first
    (re.compile(rb"(\[DATE\]) \(stream\)"), rb"\1"),
    # a guess by times of files
    (re.compile(rb" \\(Un)?Marked(?=\))|\\(Un)?Marked ?"), b""),
    (re.compile(rb"Raw backtrace: .*"), b"Raw backtrace"),
    (re.compile(rb"((sendmail|child) \(?)\d+"), rb"\1PID"),
    (re.compile(rb"dovecot-uidvalidity\.[0-9a-f]{8}"), b"dovecot-uidvalidity.VALID"),
    # the times of mails and folders in bare seconds, which in maildirs are names, too
    (re.compile(rb"(?<!\d)1[789]\d{8}(?!\d)"), b"SECONDS"),
    # unique ids of POP3: of the mail, and of the folder
    (re.compile(rb"(?<![0-9a-f])([0-9a-f]{8})[67][0-9a-f]{7}(?![0-9a-f])"), rb"\1VALID"),
]
# Of lines of the log, before anything else.
UNIQUE_LOG = [
    (re.compile(rb"^\w{3} \d\d [\d:]{8} "), b""),
    (re.compile(rb"<\d+><[^>]*>"), b"<>"),
    (re.compile(rb"\(\d+\.\d+ secs\)|[\d.]+ (ms|secs|msecs)"), b"TOOK"),
    (re.compile(rb"(pid|PID|mpid|in|out|[lr]port|user_cpu|sys_cpu)[= ]\d+"), rb"\1=N"),
    (re.compile(rb"(?<![\d.])\d+\.\d{3}(?![\d.])"), b"TOOK"),
    (re.compile(rb"127\.0\.0\.1:\d+ \[\d+\]"), b"CLIENT"),
    (re.compile(rb"session=<[^>]*>"), b"session=<>"),
    (re.compile(rb"\((\S+),\d+,"), rb"(\1,"),
]


# Of the log: what depends on who comes first.
NOISE = re.compile(
    HARMLESS.pattern.encode()
    + rb"|Mailbox list index notify: Failed to sync INBOX: Mailbox was deleted under us"
    # who finds it out
    + rb"|Private key not available: |save failed to INBOX: Internal error occurred"
)


def normal(data, life):
    data = data.replace(str(life.server.dir).encode(), b"DIR").replace(life.name, b"NAME")
    for pattern, word in UNIQUE:
        data = pattern.sub(word, data)
    return data


# -- configurations --

HAVE_POP3 = Path("/usr/lib/dovecot/pop3").exists()


def protocols(pop3_port):
    names = by_dialect(v2_3="= imap lmtp pop3", v2_4="{\n  pop3 = yes\n}")
    return (
        f"protocols {names}\nservice pop3-login {{\n  inet_listener pop3 {{\n"
        f"    port = {pop3_port}\n  }}\n  inet_listener pop3s {{\n    port = 0\n  }}\n}}\n"
    )


SPECIAL = """\
namespace inbox {
  mailbox Trash {
    special_use = \\Trash
    auto = create
  }
  mailbox Sent {
    special_use = \\Sent
    auto = subscribe
  }
  mailbox Drafts {
    special_use = \\Drafts
  }
}
"""
SCRIPT = """\
require ["fileinto", "imap4flags", "mailbox", "copy", "reject"];
if header :contains "subject" "letter 3" { fileinto :create "{p}Chats"; stop; }
if header :contains "subject" "letter 4" { addflag "$Sieved"; keep; stop; }
if exists "X-Long" { discard; stop; }
if header :contains "subject" "letter 5" { fileinto :copy :flags "k1" "{p}Work"; }
if header :contains "subject" "letter 6" { reject "no"; }
"""


def loaded(*names, imap=(), metadata=False):
    """Plugins, of which those of IMAP alone have to come last."""
    text = plugins(*names)
    if "acl" in names:
        text += by_dialect(v2_3="plugin {\n  acl = vfile\n}\n", v2_4="acl_driver = vfile\n")
    if "mail_log" in names:
        text += settings(
            mail_log_events="delete undelete expunge save copy mailbox_create mailbox_delete "
            "mailbox_rename flag_change",
            mail_log_fields="uid box msgid size flags",
        )
    if metadata:
        text += metadata_dict("attributes") + "imap_metadata = yes\n"
    return text + SPECIAL + (plugins(*imap, protocol="imap") if imap else "")


# Takes what Sieve rejects.
SENDMAIL = "sendmail_path = /bin/sh -c cat>/dev/null\n"
DETAIL = SENDMAIL + "lmtp_save_to_detail_mailbox = yes\nlda_mailbox_autosubscribe = yes\n"
FS_LAYOUT = by_dialect(
    v2_3="mail_location = maildir:~/maildir:LAYOUT=fs\n", v2_4="mailbox_list_layout = fs\n"
)


def spaces():
    """More namespaces than one: an alias of INBOX's, another one, a public and a virtual one."""
    places = {
        "archive": ("Archive", "mdbox", "~/archive", ""),
        "virtual": ("virtual", "virtual", "~/virtual", ""),
        "public": ("Public", "maildir", "~/../public", "  type = public\n  subscriptions = no\n"),
    }
    text = plugins("virtual")
    for name, (prefix, driver, path, more) in places.items():
        where = by_dialect(
            v2_3=f"  location = {driver}:{path}\n",
            v2_4=f"  mail_driver = {driver}\n  mail_path = {path}\n",
        )
        text += f"namespace {name} {{\n  prefix = {prefix}/\n  separator = /\n{where}{more}}}\n"
    return text + (
        "namespace other {\n  prefix = mail/\n  separator = /\n  hidden = yes\n  list = no\n"
        + by_dialect(v2_3="  alias_for = INBOX/\n", v2_4="  alias_for = inbox\n")
        + "}\n"
    )


# For mails that come, or whose flags change, by way of IMAP.
IMAP_SCRIPT = """\
require ["environment", "imapsieve", "imap4flags", "fileinto", "copy", "mailbox"];
if environment "imap.cause" "COPY" { addflag ["k1", "\\\\Seen"]; }
if environment :contains "imap.changedflags" "Flagged" { fileinto :copy :create "{p}Flagged"; }
if allof(environment "imap.cause" "APPEND", header :contains "subject" "4") { discard; }
"""


def imap_sieve():
    return (
        plugins("imap_sieve", protocol="imap")
        + by_dialect(v2_3="", v2_4="sieve_plugins {\n  sieve_imapsieve = yes\n}\n")
        + by_dialect(
            v2_3="plugin {\n  sieve_plugins = sieve_imapsieve\n  imapsieve_mailbox1_name = *\n"
            "  imapsieve_mailbox1_causes = COPY APPEND FLAG\n"
            "  imapsieve_mailbox1_before = file:~/imap.sieve\n}\n",
            v2_4="sieve_script imap {\n  driver = file\n  path = ~/imap.sieve\n  type = before\n"
            "  cause = copy append flag\n}\n",
        )
    )


def crypt():
    """Keys for each folder."""
    return (
        plugins("mail_crypt")
        + by_dialect(
            v2_3=settings(mail_crypt_curve="prime256v1", mail_crypt_save_version=2),
            v2_4="crypt_user_key_curve = prime256v1\n",
        )
        + metadata_dict("attributes")
    )


def told_of_events():
    """Dovecot's own notifications, into the log."""
    return plugins("notify", "push_notification") + by_dialect(
        v2_3="plugin {\n  push_notification_driver = dlog\n}\n",
        v2_4="push_notification dlog {\n}\nlog_debug = category=push-notification\n",
    )


def makes_room():
    """In the bin, where the quota is used up; and what was compressed, takes less of it."""
    return (
        quota("60k")
        + plugins("trash", "last_login")
        + by_dialect(
            v2_3=plugins("zlib", "listescape")
            + settings(trash="%h/trash.conf", zlib_save="gz", last_login_dict="file:%h/login"),
            v2_4=plugins("mail_compress")
            + "mail_compress_write_method = gz\nmailbox_list_storage_escape_char = %\n"
            "last_login {\n  dict file {\n    path = %{home}/login\n  }\n}\n"
            "namespace inbox {\n  mailbox Trash {\n    trash_priority = 1\n  }\n}\n",
        )
    )


def shared():
    """What the other one gives away."""
    return plugins("acl") + by_dialect(
        v2_3="plugin {\n  acl = vfile\n  acl_shared_dict = file:%h/../shared\n}\n"
        "namespace {\n  type = shared\n  prefix = shared/%%u/\n  separator = /\n"
        "  location = maildir:%%h/maildir:INDEXPVT=~/shared/%%u\n"
        "  subscriptions = no\n  list = children\n}\n",
        v2_4="acl_driver = vfile\nacl_sharing_map {\n  dict file {\n"
        "    path = %{home}/../shared\n  }\n}\n"
        "namespace shared {\n  type = shared\n  prefix = shared/$user/\n  separator = /\n"
        "  mail_driver = maildir\n  mail_path = %{owner_home}/maildir\n"
        "  mail_index_private_path = ~/shared/%{owner_user}\n"
        "  subscriptions = no\n  list = children\n}\n",
    )


ALTERNATE = by_dialect(
    v2_3="mail_location = mdbox:~/mdbox:ALT=~/alt\n", v2_4="mail_alt_path = ~/alt\n"
)

ATTACHMENTS = by_dialect(
    v2_3="mail_attachment_dir = %h/attachments\nmail_attachment_min_size = 300\n",
    v2_4="mail_ext_attachment_path = %{home}/attachments\nmail_ext_attachment_min_size = 300\n"
    "mail_ext_attachment {\n  fs sis {\n  }\n  fs posix {\n  }\n}\n",
)

LAZY_EXPUNGE = by_dialect(v2_3="lazy_expunge", v2_4="lazy_expunge_mailbox")

# A word of the configuration that needs a file in homes: its name and text.
FILES = {
    "virtual": ("virtual/All/dovecot-virtual", "*\n  all\n"),
    "imap.sieve": ("imap.sieve", IMAP_SCRIPT),
    "trash.conf": ("trash.conf", "1 {p}Trash\n"),
}

# Name to the configuration, and what may be in scripts besides the usual.
KINDS = {
    "maildir": (dict(mail_format="maildir"), ("told",)),
    "sdbox": (dict(mail_format="sdbox"), ("told",)),
    "mdbox": (dict(mail_format="mdbox"), ("told",)),
    "mbox": (dict(mail_format="mbox"), ("told",)),
    "maildir-dots": (
        dict(
            mail_format="maildir",
            prefix="INBOX.",
            separator=".",
            sieve=True,
            before=quota("200k"),
            after=lambda: DETAIL
            + loaded("acl", "notify", "mail_log", imap=("imap_acl", "imap_quota"), metadata=True),
        ),
        ("rights", "pop3", "told"),
    ),
    "mdbox-dots": (
        dict(
            mail_format="mdbox",
            separator=".",
            after=lambda: DETAIL
            + "lda_mailbox_autocreate = yes\n"
            + loaded("notify", "mail_log", "lazy_expunge")
            + settings(**{LAZY_EXPUNGE: "Expunged"})
            + metadata_dict("attributes"),
        ),
        ("pop3", "told"),
    ),
    "sdbox-full": (
        dict(
            mail_format="sdbox",
            sieve=True,
            before=quota("1M"),
            after=lambda: DETAIL
            + loaded("acl", "notify", "mail_log", imap=("imap_acl", "imap_quota"), metadata=True),
        ),
        ("rights", "pop3", "told"),
    ),
    "mbox-full": (
        dict(
            mail_format="mbox",
            after=lambda: DETAIL
            + "lda_mailbox_autocreate = yes\n"
            + loaded("acl", "notify", "mail_log", imap=("imap_acl",)),
        ),
        ("pop3", "told", "rights"),
    ),
    "mdbox-alt": (
        dict(
            mail_format="mdbox",
            sieve=True,
            after=lambda: DETAIL
            + ALTERNATE
            + "mail_attachment_detection_options = add-flags\n"
            + loaded("notify", "mail_log"),
        ),
        ("pop3", "told"),
    ),
    "spaces": (
        dict(
            mail_format="maildir",
            prefix="INBOX/",
            after=lambda: DETAIL + loaded("notify", "mail_log", metadata=True) + spaces(),
        ),
        ("pop3", "told", "spaces"),
    ),
    "maildir-fs": (
        dict(
            mail_format="maildir",
            after=lambda: FS_LAYOUT
            + "mailbox_list_index = no\n"
            + loaded("acl", "notify", "mail_log", imap=("imap_acl",)),
        ),
        ("rights", "told"),
    ),
    "mdbox-crypt": (
        dict(
            mail_format="mdbox",
            after=lambda: DETAIL
            + crypt()
            + told_of_events()
            + loaded("mail_log", "lazy_expunge")
            + settings(**{LAZY_EXPUNGE: "Expunged"}),
        ),
        ("pop3", "told"),
    ),
    "sdbox-sieve": (
        dict(
            mail_format="sdbox",
            sieve=True,
            after=lambda: DETAIL
            + ATTACHMENTS
            + told_of_events()
            + loaded("mail_log", metadata=True)
            + imap_sieve(),
        ),
        ("told",),
    ),
    "maildir-quota": (
        dict(
            mail_format="maildir",
            before=makes_room(),
            after=lambda: DETAIL + loaded("notify", "mail_log", imap=("imap_quota",)),
        ),
        ("pop3", "told", "rights"),
    ),
    "maildir-shared": (
        dict(
            mail_format="maildir",
            before=shared(),
            after=lambda: DETAIL + loaded("notify", "mail_log", imap=("imap_acl",), metadata=True),
        ),
        ("rights", "told", "shared"),
    ),
    "maildir-homeless": (
        dict(
            mail_format="maildir",
            home=False,
            after=lambda: DETAIL + loaded("notify", "mail_log"),
        ),
        ("told",),
    ),
}


def config(kind, coi, pop3_port):
    options, extras = KINDS[kind]
    options = dict(options)
    after = options.pop("after", str)()
    if "pop3" in extras and HAVE_POP3:
        after += protocols(pop3_port)
    # Nobody but these clients comes and goes.
    return Config(coi=coi, after=after, **options)


# -- what is left behind --


def entry(key, value):
    """Of a file of attributes, without what is never twice the same."""
    return re.sub(rb"[0-9a-f]{32,}", b"ID", key), b"KEY" if b"/crypt/" in key else value


def contents(path, data):
    """Of a file, as far as it is the same for the same life."""
    name = path.name
    if re.match(r"dovecot(\.list)?\.index|dovecot\.map\.index|dovecot-vsize|maildirsize", name):
        return b"index"
    if name.endswith(".svbin"):
        return b"with paths in it"
    if re.match(r"m\.\d+$|u\.\d+$", name):
        # times and ids of mails, and the size of a header of the file
        data = re.sub(rb"(?m)^([RS])[0-9a-f]{8}$", rb"\1TIME", data)
        data = re.sub(rb"^2 M\w+ C[0-9a-f]+\n", b"HEAD\n", data)
    if b"CRYPTED" in data:
        return b"encrypted"
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if name in ("dovecot-uidvalidity", "dovecot.mailbox.log"):
        return b"VALID"
    if name == "dovecot-uidlist":
        data = re.sub(rb" V\d+", b" VALID", data)
    if name in ("attributes", "dovecot-attributes"):
        # Keys and values in turn. What enables COI is no difference.
        lines = data.splitlines()
        pairs = sorted(map(entry, lines[::2], lines[1::2]))
        data = b"\n".join(b" ".join(pair) for pair in pairs if b"/coi/config/" not in pair[0])
    if b"X-IMAP" in data:
        data = re.sub(rb"(X-IMAP(?:base)?:) \d+", rb"\1 VALID", data)
    # the line in front of a mail in an mbox
    data = re.sub(rb"(?m)^(From \S+ ) \w{3} \w{3} [ \d]\d [\d:]{8} 20[^1]\d", rb"\1 DATE", data)
    return data


OURS = rb"/?vendor/vendor\.dovecot/(coi/config/(mailbox-root|enabled|message-filter)|webpush/vapid)"
# With their values.
OUR_ENTRIES = re.compile(
    rb" ?/private"
    + OURS
    + rb" (\"[^\"]*\"|\{\d+\}\r\n(-----BEGIN.*?-----END PUBLIC KEY-----\n|[^ )]+))",
    re.S,
)


def without_ours(line):
    """CAP-1, CFG-1, SUB-1: what there is beyond what stock Dovecot has."""
    if line.startswith(b"* METADATA"):
        line = OUR_ENTRIES.sub(b"", line)
        return re.sub(rb"^\* METADATA \S+ \(\)\r\n", b"", line)
    line = re.sub(rb"[^\n]*" + OURS + rb"\n", b"", line)
    if b"CAPABILITY" in line:
        line = re.sub(rb" (COI|WEBPUSH|METADATA-SERVER|METADATA)(?![\w-])", b"", line)
    return line


def without_keyword(text):
    """DET-6: of an answer, a line of the log, or a file."""
    if re.match(r"\* FLAGS |\* OK \[PERMANENTFLAGS", text):
        return ""
    # Where an mbox keeps them, with room for more.
    text = re.sub(r"X-Keywords:[^\n]*\n", "", text)
    text = re.sub(r"(X-IMAP(base)?: VALID \d+)[^\n]*", r"\1", text)
    return re.sub(r"(?<=\()\$Chat ?| ?\$Chat\b", "", text)


COUNT_OF_CHANGES = re.compile(r"""(MODSEQ[":= (]+|offset=)\d+""", re.I)


class Life:
    """What two users see on one server, and what they leave there."""

    def __init__(self, server, name):
        self.server = server
        self.name = name.encode()
        self.users = [f"{name}{letter}" for letter in "ab"]
        self.steps = []

    def live(self, steps, mode, sieve):
        self.mode = mode
        self.prepare(mode, sieve)
        for step, lines in zip(steps, Player(self.server, self.name.decode()).play(steps)):
            lines = [normal(without_ours(line), self).decode("latin-1") for line in lines]
            lines = [piece for line in lines for piece in line.splitlines()]
            if mode != "off":
                # To set a keyword or an entry is a change of its own, which counts.
                lines = [COUNT_OF_CHANGES.sub(r"\1N", line) for line in lines]
            if mode == "none":
                lines = [kept for line in lines if (kept := without_keyword(line))]
            self.steps.append((str(step), lines))

    def prepare(self, mode, sieve):
        """Both servers' users have the same folders, and ours COI."""
        for user in self.users:
            if sieve:
                script = SCRIPT.replace("{p}", self.server.prefix)
                self.server.write(user, ".dovecot.sieve", script)
            for word, (name, text) in FILES.items():
                if self.has(word):
                    self.server.write(user, name, text.replace("{p}", self.server.prefix))
            if self.has("shared"):
                with self.server.imap(user) as client:
                    client.must(f'CREATE "{self.server.prefix}Work"')
                    for name in ("INBOX", f"{self.server.prefix}Work"):
                        client.must(f'SETACL "{name}" {self.users[0]} lrwstipekxa')
            if mode == "off":
                continue
            with self.server.imap(user) as client:
                client.must("SELECT INBOX")
                client.must("UNSELECT")
                if self.server.settings.coi:
                    entries = {f"{ROOT}/enabled": "yes", f"{ROOT}/message-filter": mode}
                    assert client.setmetadata(entries).ok
                else:
                    client.must(f'CREATE "{self.server.contacts}"')
                    client.must(f'CREATE "{self.server.chats}"')
                    client.must(f'SUBSCRIBE "{self.server.chats}"')
                    # Ours sees to it that the index knows them: NOTIFY tells it later, else.
                    client.must(f'EXAMINE "{self.server.contacts}"')
                    client.must(f'EXAMINE "{self.server.chats}"')
                client.must("LOGOUT")

    def has(self, word):
        return word in self.server.conf.read_text()

    def parts(self):
        """Name to lines."""
        parts = {f"step {n}: {step}": lines for n, (step, lines) in enumerate(self.steps)}
        for user in self.users:
            parts[f"files of {user[-1]}"] = self.files(user)
        parts["log"] = self.log()
        return parts

    def files(self, user):
        """Path, mode and contents of all that is in a home."""
        home = self.server.home(user)
        found = []
        for path in home.rglob("*") if home.exists() else ():
            status = path.lstat()
            text = b""
            if stat.S_ISREG(status.st_mode):
                text = normal(contents(path, path.read_bytes()), self)
            if path.name.endswith("attributes") and not text:
                continue
            # The second is there or not by what was made first.
            is_ours = path.name in ("dovecot-coi.contacts", "maildirfolder")
            if is_ours and self.mode != "off":
                continue
            name = normal(str(path.relative_to(home)).encode(), self).decode("latin-1")
            if self.mode == "none":
                if path.name == "dovecot-keywords":
                    continue
                name = re.sub(r"(:2,[A-Z]*)[a-z]+$", r"\1", name)
                # A new one can't have keywords.
                name = re.sub(r"(^|/)new/([^:]*)(:2,)?$", r"\1cur/\2:2,", name)
                # It is written when the log has grown enough.
                if path.name == "dovecot.index":
                    continue
                text = without_keyword(text.decode("latin-1"))
            mode = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
            found.append(f"{name} {mode} {text!r}")
        return sorted(found)

    def log(self):
        """In no order: processes log by way of another one."""
        lines = []
        for line in self.server.log_text().encode().splitlines():
            if self.name not in line or NOISE.search(line):
                continue
            # A mail has a keyword more that may be taken away.
            if self.mode == "none" and re.search(rb"flag_change: |push_notification|Flags", line):
                continue
            for pattern, word in UNIQUE_LOG:
                line = pattern.sub(word, line)
            line = normal(line, self).decode("latin-1")
            if self.mode != "off":
                line = COUNT_OF_CHANGES.sub(r"\1N", line)
            lines.append(without_keyword(line) if self.mode == "none" else line)
        return sorted(lines)


class Alike:
    """Two servers of one kind: stock, and with the plugin."""

    def __init__(self, make_server, kind, mode="off"):
        self.mode = mode
        options, extras = KINDS[kind]
        self.extras = [name for name in extras if name != "pop3" or HAVE_POP3]
        self.sieve = options.get("sieve", False)
        self.ports = [HeldPort(), HeldPort()]
        self.servers = []
        for coi, port in zip((False, True), self.ports):
            server = make_server(config(kind, coi, port.number))
            server.pop3_address = "127.0.0.1", port.number
            self.servers.append(server)
            # Where there is no service at all, all is alike.
            with server.imap("nobody") as client:
                client.must("SELECT INBOX")

    def close(self):
        for port in self.ports:
            port.release()

    def lives(self, seed, length, letters):
        """One on each server, and by a third letter another one on the stock one."""
        steps = Script(seed, length, self.mode, self.extras).steps
        stock, ours = self.servers
        lives = [
            Life(server, f"alike{seed}{letter}")
            for server, letter in zip((stock, ours, stock), letters)
        ]
        with ThreadPoolExecutor(len(lives)) as pool:
            jobs = [pool.submit(life.live, steps, self.mode, self.sieve) for life in lives]
            for job in jobs:
                job.result()
        return [life.parts() for life in lives]

    def compare(self, seed, length):
        """A list of (what, stock's, ours), of what differs; and what may differ by itself."""
        stock, ours = self.lives(seed, length, "xx")
        found = [what for what, lines in stock.items() if ours[what] != lines]
        if not found:
            return [], []
        # Again, and this time with another look at what stock Dovecot does.
        first = stock, ours
        stock, ours, control = self.lives(seed, length, "yyz")
        real = [
            (what, lines, ours[what])
            for what, lines in stock.items()
            if what in found and ours[what] != lines and control[what] == lines
        ]
        names = [what for what, _, _ in real]
        return real, [(what, first[0][what], first[1][what]) for what in found if what not in names]


def told(differences, limit=30):
    """As text."""
    out = []
    for what, stock, ours in differences:
        out.append(what[:1000])
        diff = difflib.unified_diff(stock, ours, "stock", "ours", lineterm="", n=0)
        out += [line.rstrip("\r\n")[:700] for line in list(diff)[2 : 2 + limit]]
    return "\n".join(out)
