# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
# shellcheck shell=bash disable=SC2154 # top: the caller's
#
# Runs checks one after the other, each with its own log, and keeps the score.
# It is sourced, behind docker/lib.sh. CMD may be a function, but errexit is not
# in force in it.
#
#   checks_open CACHE          begins
#   check PART NAME CMD...     CMD is one test case
#   suite PART NAME XML CMD... CMD is many, and writes their results to XML
#   skip PART NAME WHY         a test case that can't be run here
#   checks_close [DIR]         prints the table; false if something failed

results=

checks_open() {
	# Two clones don't share builds: CMake and file times would be misled.
	cache=$1/$(printf '%s' "$top" | sha256sum | cut -c1-8)
	results=$cache/results
	mkdir -p "$cache"
	exec 8>"$1/lock"
	flock -n 8 || die "another tests/run is at work (lock $1/lock)"
	rm -rf "$results"
	mkdir -p "$results/xml" "$results/log"
	: >"$results/checks.tsv"
}

# step_to_log TEXT CMD...: shows the end of the log where CMD fails.
step_to_log() {
	local log=$results/log/${1//[^A-Za-z0-9.-]/_}.log rc=0
	: >"$log"
	COI_LOG=$log step "$@" || rc=$?
	if [ "$rc" != 0 ]; then
		say "  what came before that:"
		head -n -25 "$log" | tail -n 400 | sed 's/^/    /' >&2
	fi
	return "$rc"
}

note() { # PART NAME OUTCOME SECONDS TEXT
	printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$results/checks.tsv"
}

check() {
	local part=$1 name=$2 start=$SECONDS
	shift 2
	if step_to_log "$part: $name" "$@"; then
		note "$part" "$name" passed $((SECONDS - start)) ""
	else
		note "$part" "$name" failed $((SECONDS - start)) "$part: $name"
		return 1
	fi
}

# Where the suite fails and its results don't say so, it failed as a whole.
suite() {
	local part=$1 name=$2 xml=$3 start=$SECONDS
	shift 3
	rm -f "$xml"
	if step_to_log "$part: $name" "$@"; then
		note "$part" "$name" "suite-passed" $((SECONDS - start)) "$xml"
	else
		note "$part" "$name" "suite-failed" $((SECONDS - start)) "$xml"
		return 1
	fi
}

skip() {
	say "  $1: $2: skipped, $3"
	note "$1" "$2" skipped 0 "$3"
}

checks_close() {
	say ""
	# The verdict is the report's: a suite without a result is a failure.
	/usr/bin/python3 "$top/tests/lib/report" "$results" ${1:+"$1"} 8>&-
}
