# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What mount tests share. A test is an executable file tests/mount/NNNN-what, run from the root of
# the clone (tests/run does), that begins with
#
#     #!/bin/bash
#     # SPDX-License-Identifier: Apache-2.0
#     . tests/mount/lib.sh
#     start
#
# and then has a mount of its own on $MNT, with a store of its own in $STORE, whose engine echoes what it is asked or
# follows orders (tests/helpers/echo_engine.c). It exits with 0 if it passes, 77 if it cannot run here, else it failed.
# Whatever happens the mount is taken away and its processes are ended. $TMP is the test's own folder.
# Any command that fails unexpectedly fails the test: write `! command` or `refused …` where it should.
set -eE -o pipefail
shopt -s inherit_errexit

PATH=/usr/local/bin:/usr/bin:/bin:$PATH # the system's own tools, which other users can run too
BUILD=$(realpath "${BUILD:-build}")
LLMOSFS=${LLMOSFS:-$BUILD/llmosfs}
HELPERS=$BUILD/tests/helpers
ECHO_ENGINE=$HELPERS/echo_engine
TEST=$(basename "$0")
SLOW=${TEST_SLOW:-1} # sanitizers: how much longer things may take

TMP=$(mktemp -d "${TMPDIR:-/tmp}/llmosfs-test.XXXXXX")
chmod 755 "$TMP"
MNT=$TMP/mnt
STORE=$TMP/store
LOG=$TMP/log
mkdir "$MNT"

# --- saying how it went ---

fail() {
    echo "$TEST: FAILED: $*" >&2
    exit 1
}

skip() {
    echo "$TEST: skipped: $*"
    exit 77
}

# eq GOT WANTED WHAT
eq() {
    [ "$1" = "$2" ] || fail "$3: got «$1», want «$2»"
}

# has TEXT PART WHAT
has() {
    case $1 in
    *"$2"*) ;;
    *) fail "$3: «$1» has no «$2» in it" ;;
    esac
}

# refused ERRNO-TEXT COMMAND…: it fails and says why ("Invalid argument", "Permission denied" …).
refused() {
    local want=$1 said
    shift
    if said=$(LC_ALL=C "$@" 2>&1); then
        fail "$* should be refused ($want)"
    fi
    has "$said" "$want" "$*"
}

# within SECONDS COMMAND…: it ends in time (124 if not).
within() {
    local seconds=$1
    shift
    timeout -k 2 "$(awk "BEGIN { print $seconds * $SLOW }")" "$@"
}

# until_true SECONDS COMMAND…: repeats it until it succeeds.
until_true() {
    local end=$((SECONDS + $1 * SLOW + 1))
    shift
    until "$@"; do
        [ $SECONDS -le $end ] || fail "waited too long for: $*"
        sleep 0.02
    done
}

# --- the mount ---

is_mounted() {
    grep -qF " $MNT fuse.llmosfs " /proc/self/mounts
}

# start [OPTIONS]: mounts, with the echo engine unless OPTIONS name another.
start() {
    [ -r /dev/fuse ] && [ -w /dev/fuse ] || command -v fusermount3 >/dev/null || skip "FUSE is not to be had here"
    local options=engine=$ECHO_ENGINE,log=$LOG${1:+,$1}
    within 30 "$LLMOSFS" mount -o "$options" "$STORE" "$MNT" || fail "cannot mount"
}

# stop: unmounts and waits until all has ended. Every process ends with its reports written.
stop() {
    within 40 "$LLMOSFS" umount "$MNT" || fail "cannot unmount"
    ! is_mounted || fail "something is mounted still"
    check_log
}

restart() {
    stop
    start "$@"
}

command_of() {
    { tr '\0' ' ' <"$1/cmdline"; } 2>/dev/null || true
}

# pids supervisor|daemon|engine: the processes of this mount.
pids() {
    local pid all
    all=$(for pid in /proc/[0-9]*; do
        command_of "$pid" | grep -qF "$STORE $MNT" && echo "${pid#/proc/}"
    done) || true
    for pid in $all; do
        local parent kind=supervisor
        parent=$(awk '{ print $4 }' "/proc/$pid/stat" 2>/dev/null) || continue
        grep -qx "$parent" <<<"$all" && kind=daemon
        [ "$kind" != "$1" ] || echo "$pid"
        [ "$1" = engine ] && [ $kind = supervisor ] && engines_of "$pid"
    done
    return 0
}

# Its children that are another program than itself, but no inspectors.
engines_of() {
    local pid
    for pid in /proc/[0-9]*; do
        [ "$(awk '{ print $4 }' "$pid/stat" 2>/dev/null)" = "$1" ] || continue
        [ "$(readlink "$pid/exe")" != "$(readlink "/proc/$1/exe")" ] || continue
        command_of "$pid" | grep -q -e --inspect || echo "${pid#/proc/}"
    done
    return 0
}

gone() {
    [ ! -d "/proc/$1" ] || [ "$(awk '{ print $3 }' "/proc/$1/stat" 2>/dev/null)" = Z ]
}

# --- versions and questions ---

# deploy NAME@VERSION [ORDERS]: weights for the echo engine.
deploy() {
    mkdir -p "$MNT/$1"
    echo "${2:-plain weights}" >"$MNT/$1/model.gguf"
}

# ask NAME@VERSION TEXT: writes the prompt, reads the whole answer.
ask() {
    echo "$2" >"$MNT/$1/prompt"
    within 20 cat "$MNT/$1/completion"
}

# as UID COMMAND…: as another user, who has no name (needs root).
as() {
    local uid=$1
    shift
    setpriv --reuid="$uid" --regid="$uid" --clear-groups -- "$@"
}

need_root() {
    [ "$(id -u)" = 0 ] || skip "only root can be several users"
}

need() {
    local tool
    for tool; do
        command -v "$tool" >/dev/null || skip "$tool is not installed"
    done
}

# --- the end ---

# A sanitizer's report is a failure wherever it comes from.
check_log() {
    [ ! -f "$LOG" ] || ! grep -aE 'Sanitizer|runtime error:' "$LOG" >&2 || fail "a sanitizer has reported"
}

finish() {
    local code=$?
    trap - EXIT ERR
    set +e
    cd /
    local job
    for job in $(jobs -p); do
        kill -9 "$job" 2>/dev/null
    done
    if is_mounted; then
        within 10 "$LLMOSFS" umount "$MNT" >/dev/null 2>&1 || take_away
    fi
    if grep -qaE 'Sanitizer|runtime error:' "$LOG" 2>/dev/null; then
        echo "$TEST: FAILED: a sanitizer has reported" >&2
        [ $code = 0 ] && code=1
    fi
    if [ $code != 0 ] && [ $code != 77 ] && [ -f "$LOG" ]; then
        echo "--- the log of the mount"
        tail -n 200 "$LOG"
    fi
    is_mounted || rm -rf "$TMP"
    exit $code
}

take_away() {
    local pid
    for pid in $(pids daemon) $(pids supervisor); do
        kill -9 "$pid" 2>/dev/null
    done
    umount -l "$MNT" 2>/dev/null || fusermount3 -uz "$MNT" 2>/dev/null
}

trap finish EXIT
trap 'exit 130' INT TERM HUP
trap 'echo "$TEST: FAILED: line $LINENO: $BASH_COMMAND" >&2' ERR
