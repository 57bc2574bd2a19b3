#!/usr/bin/env bash
# Checks linerate for other systems on a Debian machine. Clippy for FreeBSD, with the tests; type checks for
# macOS, NetBSD and OpenBSD (there of engine-kqueue, with its tests), for 32 bits and for musl; real binaries linked for FreeBSD and
# macOS. Nothing of these is executed: layouts and constants are asserted at compile time, unresolved symbols
# are caught by the linker. For musl (a static binary, without the runtimes) there is a type check only: Debian's
# sysroot lacks the start files (rcrt1.o) that rustc links for that target.
#
# Debian's rustc-web, cargo-web and rust-web-src bring the sources of the standard library, so that it
# can be built for targets without a ready-made one; the toolchain of the project stays as it is.
#
#   ci/bsd-check.sh            everything
#   ci/bsd-check.sh --no-link  without the linked binaries
set -euo pipefail
cd "$(dirname "$0")/.."

link=yes
case "${1:-}" in
    "") ;;
    --no-link) link=no ;;
    *) echo "usage: ci/bsd-check.sh [--no-link]" >&2; exit 2 ;;
esac

target_dir=${BSD_TARGET_DIR:-$PWD/target/bsd-check}
std=-Zbuild-std=std,panic_abort
section_started=$SECONDS
section_name=

finish_section() {
    if [ -n "$section_name" ]; then
        echo "-- $section_name: $((SECONDS - section_started)) s"
    fi
    section_name=
}
section() {
    finish_section
    section_name=$1
    section_started=$SECONDS
    echo
    echo "== bsd-check: $1"
}
trap 'status=$?; [ $status -eq 0 ] || echo "== bsd-check FAILED in: ${section_name:-start} (exit code $status)" >&2' EXIT

# /usr/bin first: a rustc of rustup has no sources of the standard library. Flags for this machine
# (target-cpu=native, a linker) must not reach another system's build. Nothing is executed, so nothing
# is optimised. Nothing is stripped: for macOS that would need rust-objcopy, which Debian's toolchain lacks.
debian() {
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u RUSTUP_TOOLCHAIN \
        PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo RUSTC_BOOTSTRAP=1 \
        CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_DEV_STRIP=none CARGO_TARGET_DIR="$target_dir" "$@"
}

section "toolchain with the sources of the standard library"
missing=()
for package in rustc-web cargo-web rust-web-src rust-web-clippy; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]} (about 1.3 GB)"
    apt-get install -y -q --no-install-recommends "${missing[@]}" >"${TMPDIR:-/tmp}/bsd-check-apt.log" 2>&1 || {
        apt-get update -q
        apt-get install -y -q --no-install-recommends "${missing[@]}"
    }
fi
/usr/bin/rustc --version
/usr/bin/cargo --version

section "clippy for FreeBSD (x86_64), with the tests"
debian cargo clippy --locked "$std" -p linerate -p engine-kqueue -p linerate-tests --all-targets \
    --target x86_64-unknown-freebsd -- -D warnings

section "check engine-kqueue for macOS (aarch64), NetBSD and OpenBSD (x86_64), with the tests"
debian cargo check --locked "$std" -p engine-kqueue --all-targets \
    --target aarch64-apple-darwin --target x86_64-unknown-netbsd --target x86_64-unknown-openbsd

section "check linerate for 32-bit Linux and for musl, without the runtimes"
debian cargo check --locked "$std" -p linerate --no-default-features \
    --target i686-unknown-linux-gnu --target x86_64-unknown-linux-musl

if [ $link = yes ]; then
    section "zig as a linker for other systems, in a Python environment of its own"
    venv=$target_dir/zig
    if [ ! -x "$venv/bin/cargo-zigbuild" ]; then
        python3 -m venv "$venv" || {
            apt-get install -y -q --no-install-recommends python3-venv
            python3 -m venv "$venv"
        }
        "$venv/bin/pip" install --quiet --disable-pip-version-check ziglang cargo-zigbuild
    fi
    command -v file >/dev/null || apt-get install -y -q --no-install-recommends file
    "$venv/bin/cargo-zigbuild" --version

    for target in x86_64-unknown-freebsd aarch64-apple-darwin; do
        section "link linerate for $target"
        # cargo-zigbuild finds zig through the Python of its environment.
        debian env PATH="$venv/bin:/usr/bin:$PATH" \
            cargo-zigbuild zigbuild --locked "$std" -p linerate --target "$target"
        file "$target_dir/$target/debug/linerate"
    done
fi

finish_section
echo
echo "== bsd-check passed in $SECONDS s (of other systems nothing was executed)"
