# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
# shellcheck shell=bash disable=SC2154 # top: tests/run's
#
# What tests/run needs of Debian. It is sourced.

# To build and to run unit, glue and integration tests; in a chroot, too.
suite_packages=(
	dovecot-core dovecot-imapd dovecot-lmtpd dovecot-sieve dovecot-dev
	g++ cmake ninja-build binutils pkg-config libgtest-dev libcmocka-dev
	libssl-dev libjansson-dev libsqlite3-dev libcurl4-openssl-dev
	python3 python3-pytest)
# On the host alone.
host_packages=(
	clang clang-tidy clang-format cppcheck shellcheck git debootstrap valgrind)

clang_runtime() { # the sanitizers' and libFuzzer's part of clang
	printf 'libclang-rt-%s-dev\n' "$(
		apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p')"
}

install_packages() {
	local packages=("${suite_packages[@]}" "${host_packages[@]}")
	if wanted build || wanted lint; then
		packages+=("$(clang_runtime)")
	fi
	apt_install "${packages[@]}"
}

# The name of this machine's Debian, or of the other one.
this_suite() { (. /etc/os-release && printf '%s\n' "$VERSION_CODENAME"); }
other_suite() {
	case $(this_suite) in
	bookworm) echo trixie ;;
	*) echo bookworm ;;
	esac
}

# The other Debian, with all that its suite needs.
make_root() { # SUITE DIR
	local marker=$2/.coi-packages in_root=$top/tests/lib/in-root
	"$top/docker/rootfs" "$1" "$2" || return
	[ "$(cat "$marker" 2>/dev/null)" != "${suite_packages[*]}" ] || return 0
	proxy_from_apt
	"$in_root" "$2" apt-get -q update &&
		"$in_root" "$2" apt-get -q -y install --no-install-recommends \
			"${suite_packages[@]}" &&
		"$in_root" "$2" apt-get -q clean &&
		printf '%s\n' "${suite_packages[*]}" >"$marker"
}
