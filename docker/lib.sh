# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
# shellcheck shell=bash
#
# What the scripts in this directory share. It is sourced, not run.
#
#   say, die         messages to stderr; stdout is for results
#   step             runs a command with its output in the log, shows progress
#   apt_install      installs the Debian packages that are missing
#   need_root

COI_CACHE=${COI_CACHE:-/var/cache/dovecot-coi}
COI_RUN=${COI_RUN:-/run/dovecot-coi}
# A download that takes longer is not going to end.
# shellcheck disable=SC2034 # for who sources it
download_secs=1800
coi_prog=${0##*/}
coi_step_pid=
coi_log_own=
# Of scripts that call each other the outermost one speaks of an interruption.
coi_nested=${COI_NESTED:-}
export COI_NESTED=yes

say() { printf '%s\n' "$*" >&2; }
die() { say "$coi_prog: $*"; exit 1; }

need_root() {
	[ "$(id -u)" = 0 ] || die "must be run as root (sudo $0)"
}

# The log of one run. A script that is called by another one appends to the
# caller's. A script that made its own removes it when all went well.
log_open() {
	if [ -z "${COI_LOG:-}" ]; then
		COI_LOG=$(mktemp "${TMPDIR:-/tmp}/coi-$coi_prog.XXXXXX")
		coi_log_own=$COI_LOG
		export COI_LOG
	fi
}

log_close() {
	[ -z "$coi_log_own" ] || rm -f "$coi_log_own"
	coi_log_own=
}

coi_interrupted() {
	if [ -n "$coi_step_pid" ]; then
		kill -TERM -- "-$coi_step_pid" 2>/dev/null || true
		wait "$coi_step_pid" 2>/dev/null || true
		# unshare doesn't listen to that; its children end with it
		sleep 1
		kill -KILL -- "-$coi_step_pid" 2>/dev/null || true
	fi
	log_close
	[ -n "$coi_nested" ] || say "
$coi_prog: interrupted"
	exit 130
}
trap coi_interrupted INT TERM HUP

# step TEXT COMMAND [ARG...]: the command may be a function; it is run in a
# subshell, with errexit, and its output goes to the log.
step() {
	local what=$1 start=$SECONDS told=0 took rc=0
	shift
	log_open
	printf '\n== %s\n' "$what" >>"$COI_LOG"
	[ -t 2 ] || say "  $what ..."
	set -m # a process group of its own, so that all of it can be ended
	(
		trap - INT TERM HUP EXIT
		# A daemon must not inherit the locks of the scripts.
		exec 8<&- 9<&-
		"$@"
	) >>"$COI_LOG" 2>&1 </dev/null &
	coi_step_pid=$!
	set +m
	while kill -0 "$coi_step_pid" 2>/dev/null; do
		took=$((SECONDS - start))
		if [ -t 2 ]; then
			printf '\r  %s ... %d s ' "$what" "$took" >&2
		elif [ "$took" -ge $((told + 20)) ]; then
			told=$took
			say "  $what ... $took s"
		fi
		sleep 0.2
	done
	wait "$coi_step_pid" || rc=$?
	coi_step_pid=
	took=$((SECONDS - start))
	[ ! -t 2 ] || printf '\r\033[K' >&2
	if [ "$rc" != 0 ]; then
		say "  $what: FAILED after $took s. The end of $COI_LOG:"
		tail -n 25 "$COI_LOG" | sed 's/^/    /' >&2
		return "$rc"
	fi
	say "  $what: $took s"
}

# The proxy that apt uses, for everything else that fetches packages.
proxy_from_apt() {
	local proxy=
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	if [ -n "$proxy" ] && [ -z "${http_proxy:-}" ]; then
		export http_proxy=$proxy
	fi
}

is_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Packages that start a service do not get to: what is needed is started by
# these scripts, privately, and ended by them.
coi_policy=/usr/sbin/policy-rc.d
coi_policy_text='#!/bin/sh
# Made by dovecot-coi for the time of one apt-get run.
exit 101'

coi_apt_get_install() {
	export DEBIAN_FRONTEND=noninteractive
	local opts=(-y -q -o DPkg::Lock::Timeout=300
		-o Dpkg::Options::=--force-confold
		-o Dpkg::Options::=--force-confdef)
	if [ ! -e "$coi_policy" ] ||
		[ "$(cat "$coi_policy")" = "$coi_policy_text" ]; then
		trap 'rm -f "$coi_policy"' EXIT
		trap 'exit 130' INT TERM
		printf '%s\n' "$coi_policy_text" >"$coi_policy"
		chmod 755 "$coi_policy"
	fi
	# A third party's source that does not answer is not our concern.
	apt-get "${opts[@]}" update || true
	apt-get "${opts[@]}" install --no-install-recommends "$@"
}

# apt_install PACKAGE...
apt_install() {
	local missing=() p
	for p; do
		is_installed "$p" || missing+=("$p")
	done
	[ ${#missing[@]} != 0 ] || return 0
	need_root
	command -v apt-get >/dev/null ||
		die "needs ${missing[*]}, and there is no apt-get to install it"
	step "installing ${missing[*]}" coi_apt_get_install "${missing[@]}"
	# What nobody has asked for must not run after the next boot either.
	case " ${missing[*]} " in
	*" dovecot-core "*)
		systemctl --quiet disable dovecot.service dovecot.socket 2>/dev/null || true
		;;
	esac
	note_installed "${missing[@]}"
}

# For those who want to know later what these scripts brought in.
note_installed() { # PACKAGE...
	mkdir -p "$COI_CACHE"
	printf '%s\n' "$@" >>"$COI_CACHE/packages-installed"
}

# Unmounts everything below a directory. A tree is only ever removed when
# nothing is mounted in it.
unmount_below() {
	local dir m
	dir=$(realpath -m "$1")
	cut -d' ' -f5 /proc/self/mountinfo | sort -r |
		while IFS= read -r m; do
			case $m in
			"$dir"/*) umount -l "$m" || true ;;
			esac
		done
}

remove_tree() {
	[ -e "$1" ] || [ -L "$1" ] || return 0
	unmount_below "$1"
	rm -rf --one-file-system "$1"
}
