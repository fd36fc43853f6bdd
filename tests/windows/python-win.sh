#!/usr/bin/env bash
# python-win ARGUMENT ...   Windows' CPython under Wine, with this shell's folder, input and output
# python-win-stop           ends the Wine that a call leaves running, and removes its prefix
#   PYWIN=3.13       which Python
#   PYWIN_KEEP=300   seconds that a Wine stays, so that the next call starts in 0.1 s; with 0 each call takes a
#                    second, and holds its output open a second longer
#   PYWIN_SHIM=0     Wine's own sockets, without winsock_shim.so
# Wine's sockets live in the network namespace of its server: each namespace has a Wine prefix of its own.
set -u
root=$(dirname "$(readlink -f "$0")")
export WINEDEBUG=${WINEDEBUG:--all} WINEARCH=win64 WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe="
unset DISPLAY PYTHONHOME PYTHONPATH
wine=/usr/lib/wine/wine64
namespace=$(readlink /proc/self/ns/net | tr -dc 0-9)

if [ "$(basename "$0")" = python-win-stop ]; then
    export WINELOADER=$wine
    for WINEPREFIX in "$root/prefixes/$namespace" "$root/prefixes/$namespace-plain"; do
        [ -d "$WINEPREFIX" ] || continue
        export WINEPREFIX
        /usr/lib/wine/wineserver64 -k || true # nothing runs
        /usr/lib/wine/wineserver64 -w
        rm -r "$WINEPREFIX" # the disk behind it is the common one, and stays
    done
    exit 0
fi

version=${PYWIN:-3.13}
python=$root/$version/python.exe
if [ ! -e "$root/$version.ready" ]; then
    echo "python-win: Python $version is not set up; tests/windows/setup.sh $version does it" >&2
    exit 127
fi
run=(env)
if [ "${PYWIN_SHIM:-1}" = 0 ]; then
    export WINEPREFIX=$root/prefixes/$namespace-plain
else
    export WINEPREFIX=$root/prefixes/$namespace
    run+=(LD_PRELOAD="$root/winsock_shim.so" WINSOCK_SHIM_TABLE="$WINEPREFIX/sockets")
fi
run+=("$wine")

keeper_runs() {
    local pid
    read -r pid 2>/dev/null <"$WINEPREFIX/keeper" && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = python.exe ]
}

make_prefix() {
    ln -sfn "$root/prefix/drive_c" "$WINEPREFIX/drive_c"
    cp -a "$root/prefix/dosdevices" "$root/prefix/.update-timestamp" "$root"/prefix/*.reg "$WINEPREFIX/"
    touch "$WINEPREFIX/ready"
}

start_keeper() {
    rm -f "$WINEPREFIX/up"
    (
        # It outlives the caller, who may wait for the end of any pipe that is open here.
        for fd in /proc/self/fd/*; do
            [ "${fd##*/}" -le 2 ] || eval "exec ${fd##*/}>&-"
        done
        UP="Z:$WINEPREFIX/up" SECONDS_UP=$keep exec setsid "${run[@]}" "$python" -S -E -c \
            'import os, time; open(os.environ["UP"], "w").close(); time.sleep(float(os.environ["SECONDS_UP"]))'
    ) </dev/null >/dev/null 2>&1 &
    echo $! >"$WINEPREFIX/keeper"
    local tries=300
    until [ -e "$WINEPREFIX/up" ] || [ $((tries -= 1)) = 0 ]; do sleep 0.05; done
}

keep=${PYWIN_KEEP:-300}
mkdir -p "$WINEPREFIX"
if [ ! -e "$WINEPREFIX/ready" ] || { [ "$keep" != 0 ] && ! keeper_runs; }; then
    exec 9>"$WINEPREFIX/lock"
    flock 9
    [ -e "$WINEPREFIX/ready" ] || make_prefix
    [ "$keep" = 0 ] || keeper_runs || start_keeper
    exec 9>&-
fi

# Wine 8 gives Windows programs no usable handle on a regular file: they get a pipe, and cat stands between.
if [ -f /dev/fd/0 ]; then exec < <(exec cat); fi
if [ ! -f /dev/fd/1 ] && [ ! -f /dev/fd/2 ]; then exec "${run[@]}" "$python" "$@"; fi
writers=()
joined=
if [ /dev/fd/1 -ef /dev/fd/2 ]; then joined=yes; fi
if [ -f /dev/fd/1 ]; then
    exec > >(exec cat)
    writers+=($!)
fi
if [ -n "$joined" ]; then
    exec 2>&1
elif [ -f /dev/fd/2 ]; then
    exec 2> >(exec cat >&2)
    writers+=($!)
fi
"${run[@]}" "$python" "$@" <&0 &
child=$!
for signal in INT TERM HUP; do
    # shellcheck disable=SC2064 # the signal of now
    trap "kill -$signal $child" "$signal"
done
wait "$child"
status=$?
while kill -0 "$child" 2>/dev/null; do # a signal ends wait early
    wait "$child"
    status=$?
done
exec >&- 2>&-
for writer in "${writers[@]}"; do wait "$writer"; done
exit "$status"
