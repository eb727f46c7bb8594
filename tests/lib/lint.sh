# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
# shellcheck shell=bash disable=SC2154 # top: tests/run's
#
# Checks of the source itself. It is sourced.

# What clang's tools want differs between versions; this is the one that counts.
# shellcheck disable=SC2034
clang_version=14

# Files of the repository, those included that are not yet committed.
files() { # PATTERN...
	git -C "$top" -c safe.directory="$top" ls-files \
		--cached --others --exclude-standard -- "$@" | sort -u |
		while IFS= read -r name; do
			[ ! -f "$top/$name" ] || printf '%s\n' "$name"
		done
}

cpp_files() {
	files 'src/*.cc' 'src/*.h' 'tests/unit/*.cc' 'tests/unit/*.h' 'tests/issues/*.cc' \
		'tests/fuzz/*.cc' 'tests/fuzz/*.h' 'tests/glue/*.cc' \
		tests/glue/adapter.h | grep -vxE "src/coi(-push|-relay)?\.h"
}
c_files() { files 'plugin/*.c' 'plugin/*.h' 'tests/glue/*.c' tests/glue/glue-tests.h; }
shell_files() {
	files docker tests .ci | while IFS= read -r name; do
		case $name in
		*.sh) printf '%s\n' "$name" ;;
		*) ! head -n 1 "$top/$name" | grep -qaE '^#!.*\b(ba)?sh$' ||
			printf '%s\n' "$name" ;;
		esac
	done
}

lint_format() {
	cd "$top" &&
		cpp_files | xargs clang-format --dry-run -Werror --style=file:src/.clang-format &&
		c_files | xargs clang-format --dry-run -Werror --style=file:plugin/.clang-format
}

# The analyzer takes nine tenths of the time.
lint_tidy() { # BUILD
	local checks='-clang-analyzer-*' names=('src/*.cc' 'plugin/*.c')
	if [ -n "$thorough" ]; then
		checks=
		names+=('tests/unit/*.cc')
	fi
	cd "$top" || return
	files "${names[@]}" |
		in_build "$1" | xargs -P "$(nproc)" -n 2 nice -n 10 clang-tidy --quiet -p "$1" \
		"--checks=$checks"
}

# Those files that are compiled in a build; not all are on every Dovecot.
in_build() {
	while IFS= read -r name; do
		! grep -qF "\"$top/$name\"" "$1/compile_commands.json" ||
			printf '%s\n' "$name"
	done
}

lint_cppcheck() {
	cd "$top" || return
	local opts=(--quiet --error-exitcode=1 --inline-suppr
		"--enable=warning,performance,portability"
		--suppressions-list=tests/lib/cppcheck-suppressions)
	cppcheck "${opts[@]}" --std=c++20 -I src src &&
		cppcheck "${opts[@]}" --std=c11 -I src -I plugin -I plugin/compat plugin
}

lint_shell() {
	cd "$top" || return
	shell_files | xargs shellcheck --external-sources --source-path=SCRIPTDIR:SCRIPTDIR/..
}

# All that differs between the Dovecots is in one place.
lint_versions() {
	cd "$top" || return
	! files '*.c' '*.h' '*.cc' '*.in' | grep -v '^plugin/compat/' |
		xargs grep -nE 'DOVECOT_(PREREQ|VERSION|ABI_VERSION_|HAVE)|PACKAGE_VERSION'
}

lint_notices() {
	cd "$top" || return
	local name missing=0
	while IFS= read -r name; do
		if [ -s "$name" ] && ! head -n 6 "$name" | grep -q 'terms of the Mozilla Public'; then
			echo "no licence notice: $name"
			missing=1
		fi
	done < <(files '*.c' '*.h' '*.cc' '*.in' '*.py' '*.sh' '*CMakeLists.txt' '*.cmake'; shell_files)
	return "$missing"
}

lint_columns() {
	cd "$top" || return
	! files '*.py' tests/lib/report tests/lib/conformance | xargs grep -nE '^.{101}|	'
}

lint_conformance() {
	"$top/tests/lib/conformance" --check "$top/docs/conformance.md"
}
