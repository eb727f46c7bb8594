# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
# shellcheck shell=bash disable=SC2154 # top, cache, results, expr: tests/run's
#
# The parts of tests/run, in their order. It is sourced.

parts=(build integration chroot unit lint sanitized package containers demo)
skipped_parts=()
# What takes longer than everything else together.
thorough=

is_part() {
	local part
	for part in "${parts[@]}"; do
		[ "$part" != "$1" ] || return 0
	done
	return 1
}

skip_part() { skipped_parts+=("$1"); }

# With an expression for pytest, no part is run that has no pytest in it.
choose_parts() {
	local with_pytest=(integration sanitized chroot containers)
	if [ -n "$expr" ] && [ ${#only[@]} = 0 ]; then
		only=("${with_pytest[@]}")
	fi
}

wanted() {
	local part
	for part in ${skipped_parts[@]+"${skipped_parts[@]}"}; do
		[ "$part" != "$1" ] || return 1
	done
	[ ${#only[@]} != 0 ] || return 0
	for part in "${only[@]}"; do
		[ "$part" != "$1" ] || return 0
	done
	return 1
}

# -- beside what follows --

# Integration tests mostly wait.
beside=()
run_beside() { # COMMAND...
	# a shell of its own, and that has no traps
	{ trap coi_interrupted INT TERM HUP && "$@"; } &
	beside+=($!)
}

# Some may have been waited for.
wait_for_beside() {
	[ ${#beside[@]} = 0 ] || wait "${beside[@]}" 2>/dev/null || true
	beside=()
}

# -- building --

# What the integration tests run.
suite_targets=(src/all plugin/all tests/bench/all coi-relay-run coi-sender-run coi-fault)

# Beside the integration tests builds come second: nobody waits for them.
build() { # DIR [TARGET...]
	nice -n 10 cmake --build "$1" ${2:+--target "${@:2}"}
}

configure() { # DIR CMAKE-OPTION...
	cmake -S "$top" -B "$1" -G Ninja -DCOI_WERROR=ON -DCOI_BUILD_TESTS=ON "${@:2}"
}

build_gcc() {
	# The unit tests with sanitizers, and those of the other Debian, will do.
	local targets=("${suite_targets[@]}")
	[ -z "$thorough" ] || targets=()
	configure "$cache/gcc" && build "$cache/gcc" ${targets[@]+"${targets[@]}"}
}

# With sanitizers and for the fuzzers, which want clang.
configure_clang() {
	configure "$cache/clang" -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
		-DCOI_SANITIZE=address,undefined -DCOI_BUILD_FUZZERS=ON -DCMAKE_BUILD_TYPE=None \
		"-DCMAKE_C_FLAGS=-O1 -g1" "-DCMAKE_CXX_FLAGS=-O1 -g1"
}
build_clang() { configure_clang && build "$cache/clang"; }

# For Dovecot to load, which takes gcc's sanitizers.
build_sanitized() {
	configure "$cache/sanitized" -DCOI_SANITIZE=address,undefined &&
		build "$cache/sanitized" "${suite_targets[@]}"
}

isolated() { unshare --mount --pid --fork --kill-child --mount-proc "$@"; }

gtest() { # PART NAME PROGRAM
	local xml=$results/xml/${1// /-}-$2.xml
	suite "$1" "$2" "$xml" isolated "$3" "--gtest_output=xml:$xml" || true
}

fuzz() { # NAME
	local corpus runs=20000
	# Not a time: the same work on every machine.
	[ -z "$thorough" ] || runs=200000
	corpus=$(mktemp -d)
	isolated "$cache/clang/tests/fuzz/fuzz-$1" -seed=1 -runs="$runs" \
		-dict="$top/tests/fuzz/$1.dict" "$corpus" "$top/tests/fuzz/corpus/fuzz-$1" || {
		rm -rf "$corpus"
		return 1
	}
	rm -rf "$corpus"
}

# The programs with tests, as KIND/NAME.
test_programs=(unit/unit unit/push unit/relay glue/glue)

gtests() { # BUILD
	local program
	for program in "${test_programs[@]}"; do
		gtest "${program#*/}" "$1" \
			"$cache/$1/tests/${program%/*}/coi-${program#*/}-tests"
	done
}

part_build() { check build gcc build_gcc || true; }

# -- what needs no Dovecot that runs --

part_unit() {
	local name
	if [ -n "$thorough" ]; then
		! { wanted build || check build gcc build_gcc; } || gtests gcc
	fi
	if check build clang build_clang; then
		gtests clang
		for name in chat-detect config contacts endpoint handoff header payload \
			subscription; do
			check fuzz "$name" fuzz "$name" || true
		done
	fi
}

# -- lint --

# The unit tests' precompiled headers are only read when these are looked at.
tidy() {
	configure_clang &&
		{ [ -z "$thorough" ] || build "$cache/clang"; } &&
		lint_tidy "$cache/clang"
}

part_lint() {
	if clang-format --version | grep -q "version $clang_version\."; then
		check lint clang-format lint_format || true
		check lint clang-tidy tidy || true
	else
		skip lint clang-format "clang is not version $clang_version"
		skip lint clang-tidy "clang is not version $clang_version"
	fi
	check lint cppcheck lint_cppcheck || true
	check lint shellcheck lint_shell || true
	check lint versions lint_versions || true
	check lint notices lint_notices || true
	check lint columns lint_columns || true
	check lint conformance lint_conformance || true
}

# -- integration --

pytest_options=(-q -rfEx --tb=short)

pytest_suite() { # PART NAME COMMAND...
	local part=$1 name=$2 xml=$results/xml/${1// /-}-${2// /-}.xml
	shift 2
	suite "$part" "$name" "$xml" "$@" "${pytest_options[@]}" \
		"--junitxml=$xml" ${expr:+-k "$expr"} || true
}

part_integration() {
	if wanted build || check build gcc build_gcc; then
		run_beside pytest_suite "integration $(dovecot --version | cut -d' ' -f1)" host \
			"$top/tests/lib/suite" "$cache/gcc"
	fi
}

# -- the same with sanitizers, and some of it under valgrind --

# What delivers and moves; all would take hours.
valgrind_tests=(integration/test_recipients.py integration/test_seen_recovery.py)

part_sanitized() {
	local dovecot
	dovecot=$(dovecot --version | cut -d' ' -f1)
	if check build sanitized build_sanitized; then
		pytest_suite "integration $dovecot" sanitizers \
			"$top/tests/lib/suite" --sanitize "$cache/sanitized"
	fi
	if wanted build || wanted integration || check build gcc build_gcc; then
		pytest_suite "integration $dovecot" valgrind "$top/tests/lib/suite" \
			--valgrind "$cache/gcc" "${valgrind_tests[@]}"
	fi
}

# -- the other Debian --

# The results are written where the build is, and taken from there.
in_other() {
	COI_ROOT_BUILD=$cache/$(other_suite) "$top/tests/lib/in-root" "$root" "$@"
}

build_other_gcc() {
	mkdir -p "$cache/$(other_suite)" &&
		in_other cmake -S /coi/source -B /coi/build -G Ninja \
			-DCOI_WERROR=ON -DCOI_BUILD_TESTS=ON &&
		in_other cmake --build /coi/build --target "${suite_targets[@]}"
}

build_other_tests() { in_other nice -n 10 cmake --build /coi/build; }

in_other_xml() { # XML COMMAND...: {} stands for the file's name in there
	local xml=$1 name=${1##*/} rc=0
	shift
	rm -f "$cache/$(other_suite)/$name"
	in_other "${@//\{\}//coi/build/$name}" || rc=$?
	mv "$cache/$(other_suite)/$name" "$xml" || rc=1
	return "$rc"
}

# It is fetched while others build.
root_pid=
root_made=
root_beside() {
	root=$COI_CACHE/tests/$(other_suite)
	run_beside check "build $(other_suite)" root make_root "$(other_suite)" "$root"
	root_pid=$!
}

# False if there is none.
wait_for_root() {
	if [ -n "$root_pid" ]; then
		! wait "$root_pid" || root_made=yes
		root_pid=
	fi
	[ -n "$root_made" ]
}

part_chroot() {
	local name part xml
	name=$(other_suite)
	wait_for_root || return 0
	check "build $name" gcc build_other_gcc || return 0
	xml=$results/xml/integration-$name.xml
	run_beside suite "integration $name" chroot "$xml" in_other_xml "$xml" \
		/coi/source/tests/lib/suite /coi/build "${pytest_options[@]}" \
		--junitxml={} ${expr:+-k "$expr"}
	[ -z "$expr" ] || return 0
	check "build $name" tests build_other_tests || return 0
	for part in "${test_programs[@]}"; do
		xml=$results/xml/${part#*/}-$name.xml
		suite "${part#*/} $name" gcc "$xml" in_other_xml "$xml" \
			"/coi/build/tests/${part%/*}/coi-${part#*/}-tests" \
			--gtest_output=xml:{} || true
	done
}

# -- the Debian package --

part_package() {
	check "package $(this_suite)" check package_of_this || true
	! wait_for_root ||
		check "package $(other_suite)" check "$top/tests/lib/package-suite" "$root" || true
}

package_of_this() { "$top/tests/lib/package-suite" /; }

# -- containers and demo --

# An engine that was there before is not ours to stop.
engine_ours=
with_engine() { # COMMAND...
	"$top/docker/engine" host >/dev/null 2>&1 || engine_ours=yes
	if check containers engine "$top/docker/engine" start; then
		"$@"
	fi
	stop_engine
}

stop_engine() {
	[ -z "$engine_ours" ] || "$top/docker/engine" stop || true
	engine_ours=
}

in_containers() {
	local base bases=(trixie) expr=$expr
	if [ -n "$thorough" ]; then
		bases+=(bookworm)
	elif [ -z "$expr" ]; then
		# That it is put together well; the same Dovecot is in the chroot.
		expr="test_capability or test_enable or test_filter or test_idle"
	fi
	DOCKER_HOST=$("$top/docker/engine" host)
	export DOCKER_HOST
	for base in "${bases[@]}"; do
		check containers "image $base" "$top/docker/build" \
			--base "debian:$base-slim" || continue
		pytest_suite "container $base" pytest \
			"$top/tests/lib/container-suite" "dovecot-coi:$base"
	done
	unset DOCKER_HOST
}

part_containers() { with_engine in_containers; }

demos() {
	check demo docker "$top/docker/demo" || true
	check demo "docker stop" "$top/docker/demo" --stop || true
	check demo no-docker "$top/docker/demo" --no-docker || true
	check demo "no-docker stop" "$top/docker/demo" --stop || true
}

part_demo() { with_engine demos; }
