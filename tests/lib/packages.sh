# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
# shellcheck shell=bash disable=SC2154 # top, other: tests/run's
#
# What tests/run needs of Debian. It is sourced.

# To build and to run unit, glue and integration tests; in a chroot, too.
suite_packages=(
	dovecot-core dovecot-imapd dovecot-lmtpd dovecot-pop3d dovecot-sieve dovecot-sqlite dovecot-dev
	dovecot-mysql mariadb-server-core
	g++ cmake ninja-build binutils pkg-config ca-certificates build-essential debhelper
	libgtest-dev libcmocka-dev
	libssl-dev libjansson-dev libsqlite3-dev libcurl4-openssl-dev
	python3 python3-pytest python3-cryptography python3-h2 python3-aiosmtpd)
# On the host alone.
host_packages=(
	clang clang-tidy clang-format cppcheck shellcheck git debootstrap valgrind curl)

clang_runtime() { # the sanitizers' and libFuzzer's part of clang
	printf 'libclang-rt-%s-dev\n' "$(
		apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p')"
}

# The name of this machine's Debian, or of the other one.
this_suite() { (. /etc/os-release && printf '%s\n' "$VERSION_CODENAME"); }
other_suite() {
	[ -z "$other" ] || { printf '%s\n' "$other"; return; }
	case $(this_suite) in
	bookworm) echo trixie ;;
	*) echo bookworm ;;
	esac
}

# What reads encrypted pushes in the tests, and isn't ours (RFC 8188). Debian has
# it from 13 on. Before, npm has; there it needs nothing else. A chroot of Debian
# 12 does without, as does a machine without a way to npm: the tests that need
# it are skipped.
http_ece=http_ece@1.2.1
export COI_TEST_NODE_MODULES=$COI_CACHE/$http_ece/node_modules

# So it is with ntfy, which the demo brings to Debian 12.
newer_packages() { # SUITE
	case $1 in
	bookworm | noble) ;;
	*) echo python3-http-ece ntfy nodejs ;;
	esac
}

install_http_ece() {
	[ ! -e "$COI_TEST_NODE_MODULES/http_ece/package.json" ] || return 0
	# One that isn't apt's may be there, and clash with apt's.
	if ! command -v npm >/dev/null; then
		apt_install nodejs npm || return
	fi
	timeout --foreground "$download_secs" npm install --ignore-scripts --no-audit --no-fund \
		--prefix "$COI_CACHE/$http_ece" "$http_ece"
}

# The core of the Delta Chat apps, as npm has it. It needs nothing of the system.
delta_chat=2.57.0
export COI_TEST_DELTA_CHAT=$COI_CACHE/delta-chat-$delta_chat/deltachat-rpc-server

install_delta_chat() {
	local name sum dir
	case $(dpkg --print-architecture) in
	amd64)
		name=stdio-rpc-server-linux-x64
		sum=2141d25c2fb3e14622a870fda10d20768f9d784d8ecb04c7aec9cd227e9eea34
		sum+=1399d3abbdfce740875d569701ad6d1959902445e302d0ed2ce56cbece1858d7
		;;
	arm64)
		name=stdio-rpc-server-linux-arm64
		sum=dd484f5158ca24033c36890390afb27b3700c824eb11bdb20d349523ebda7ce8
		sum+=617588560b255f2a97abb5f36055dc619b919003622c84d923c2f8ecf9d07d86
		;;
	*) return 1 ;;
	esac
	[ ! -x "$COI_TEST_DELTA_CHAT" ] || return 0
	dir=$(dirname "$COI_TEST_DELTA_CHAT")
	mkdir -p "$dir" || return
	curl -fsSL --retry 3 --max-time "$download_secs" -o "$dir/package" \
		"https://registry.npmjs.org/@deltachat/$name/-/$name-$delta_chat.tgz" &&
		printf '%s  %s\n' "$sum" "$dir/package" | sha512sum --check --quiet &&
		tar -C "$dir" -xzf "$dir/package" --strip-components=1 --no-same-owner &&
		rm "$dir/package"
}

# An IMAP client of others. It needs a newer Node.js than Debian 12 has; where that isn't,
# its tests run in a chroot of Debian 13 only.
imapflow=imapflow@1.7.8
export COI_TEST_IMAPFLOW=$COI_CACHE/$imapflow/node_modules

install_imapflow() {
	[ ! -e "$COI_TEST_IMAPFLOW/imapflow/package.json" ] || return 0
	command -v npm >/dev/null &&
		timeout --foreground "$download_secs" npm install --ignore-scripts --no-audit \
			--no-fund --prefix "$COI_CACHE/$imapflow" "$imapflow"
}

install_packages() {
	local more
	read -ra more < <(newer_packages "$(this_suite)") || true # none
	apt_install "${suite_packages[@]}" "${host_packages[@]}" ${more[@]+"${more[@]}"} || return
	# Which one it is apt knows once it has its lists.
	if wanted unit || wanted lint; then
		apt_install "$(clang_runtime)" || return
	fi
	install_delta_chat || echo "Delta Chat's core is not to be had; its test is skipped"
	[ ${#more[@]} != 0 ] || install_http_ece ||
		echo "http_ece is not to be had; its tests are skipped"
	install_imapflow || echo "ImapFlow is not to be had; its tests are skipped"
}

# The other Debian, with all that its suite needs.
make_root() { # SUITE DIR
	local marker=$2/.coi-packages in_root=$top/tests/lib/in-root more
	local packages=("${suite_packages[@]}")
	read -ra more < <(newer_packages "$1") || true # none
	packages+=(${more[@]+"${more[@]}"})
	"$top/docker/rootfs" "$1" "$2" || return
	[ ! -x "$COI_TEST_DELTA_CHAT" ] || cp -u "$COI_TEST_DELTA_CHAT" "$2/usr/bin/" || return
	if [ -e "$COI_TEST_IMAPFLOW" ]; then
		mkdir -p "$2/usr/local/lib" &&
			cp -au "$COI_TEST_IMAPFLOW" "$2/usr/local/lib/" || return
	fi
	[ "$(cat "$marker" 2>/dev/null)" != "${packages[*]}" ] || return 0
	proxy_from_apt
	"$in_root" "$2" apt-get -q update &&
		"$in_root" "$2" apt-get -q -y install --no-install-recommends \
			"${packages[@]}" &&
		"$in_root" "$2" apt-get -q clean &&
		printf '%s\n' "${packages[*]}" >"$marker"
}
