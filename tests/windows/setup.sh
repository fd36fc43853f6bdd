#!/usr/bin/env bash
# Sets up Windows' CPython under Wine, for the tests, and prints where its `python-win` is.
#   tests/windows/setup.sh [VERSION ...]      default: 3.8 3.13; any of 3.8 to 3.13
# Panda3D's wheels for Windows carry python.org's libraries of CPython; the part of the standard library that is
# written in Python is the same everywhere, and comes from a Linux CPython of the same version.
# Needs wine64, gcc, a python3 with pip (or PYTHON=...), and those Linux CPythons.
# All is left in a cache folder (or ROOT=...) that is named by what these files say: a change makes it anew.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -gt 0 ] || set -- 3.8 3.13
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pnmcheck-windows
key=$(cat "$here"/{setup.sh,python-win.sh,launcher.py,winsock_shim.c} | sha256sum | cut -c 1-12)
root=${ROOT:-$cache/$key}
wheels=$cache/wheels
python=${PYTHON:-python3}
panda=panda3d==1.10.16

export WINEDEBUG=-all WINEPREFIX=$root/prefix WINEARCH=win64 WINELOADER=/usr/lib/wine/wine64
export WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe="
unset DISPLAY

exec 3>&2
trap '[ $? = 0 ] || tail -n 20 "$root/log" >&3' EXIT

die() {
    echo "setup.sh: $1" >&2
    exit 1
}

make_prefix() {
    timeout 300 "$WINELOADER" wineboot -i || true # it complains of the screen that is not there
    # Wine 8 is Windows 7 unless told; Python 3.9 wants 8.1 or newer.
    timeout 60 "$WINELOADER" reg add 'HKCU\Software\Wine' /v Version /d win10 /f
    /usr/lib/wine/wineserver64 -w
}

standard_library() {
    local folder
    for folder in "$HOME"/.pyenv/versions/"$1".*/lib/python"$1" {/usr/local,/usr}/lib/python"$1"; do
        if [ -f "$folder/asyncio/windows_events.py" ]; then
            echo "$folder"
            return
        fi
    done
    die "no standard library of Python $1 here; a Python $1 of pyenv, or Debian's libpython$1-stdlib, has it"
}

make_python() {
    local version=$1 digits=${1/./} home=$root/$1 library file
    library=$(standard_library "$version")
    local wheel=("$wheels"/panda3d-*-cp"$digits"-cp"$digits"-win_amd64.whl)
    if [ ! -f "${wheel[0]}" ]; then
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$wheels" \
            --platform win_amd64 --python-version "$version" --implementation cp --abi "cp$digits" "$panda"
        wheel=("$wheels"/panda3d-*-cp"$digits"-cp"$digits"-win_amd64.whl)
    fi
    rm -rf "$home" "$home.wheel"
    mkdir -p "$home/DLLs" "$home/Lib"
    "$python" -m zipfile -e "${wheel[0]}" "$home.wheel"
    for file in "$home.wheel"/deploy_libs/*; do
        case $(basename "${file,,}") in
            # Wine has a C runtime of its own; there is no screen for Tk; free-threaded builds are not meant.
            api-ms-win* | tcl* | tk* | _tkinter* | *t-win_amd64*) ;;
            python* | vcruntime*) mv "$file" "$home" ;;
            *) mv "$file" "$home/DLLs" ;;
        esac
    done
    rm -r "$home.wheel"
    tar -C "$library" -c --dereference --exclude=./test --exclude=./lib-dynload --exclude=./site-packages \
        --exclude=./dist-packages --exclude='./config-*' --exclude=__pycache__ . | tar -C "$home/Lib" -x
    "$python" "$here/launcher.py" "$home/python.exe" "python$digits.dll"
    # Without it Windows calls itself 8 to the program.
    cat >"$home/python.exe.manifest" <<'XML'
<assembly xmlns="urn:schemas-microsoft-com:asm.v1" manifestVersion="1.0">
  <compatibility xmlns="urn:schemas-microsoft-com:compatibility.v1"><application>
    <supportedOS Id="{8e0f7a12-bfb3-4fe8-b9a5-48fd50a15a9a}"/>
  </application></compatibility>
</assembly>
XML
    touch "$root/$version.ready"
    if ! PYWIN=$version PYWIN_KEEP=0 "$root/python-win" -c 'import ssl, sys; print(sys.version, ssl.OPENSSL_VERSION)'; then
        rm "$root/$version.ready"
        die "Windows' Python $version does not start"
    fi
}

make_missing() {
    exec 9>"$root/lock"
    flock 9
    [ -x "$WINELOADER" ] || die "no $WINELOADER; apt-get install wine64 brings it"
    if [ ! -e "$root/common.ready" ]; then
        # What other states of these files left, once it is a week old: each takes 700 MB.
        find "$cache" -mindepth 1 -maxdepth 1 -type d ! -name "$key" ! -name wheels -mtime +7 -exec rm -r {} +
        make_prefix
        gcc -O1 -Wall -Wextra -Werror -shared -fPIC -o "$root/winsock_shim.so" "$here/winsock_shim.c"
        install "$here/python-win.sh" "$root/python-win"
        ln -sf python-win "$root/python-win-stop"
        touch "$root/common.ready"
    fi
    for version in "$@"; do
        [ -e "$root/$version.ready" ] || make_python "$version"
    done
    "$root/python-win-stop"
    exec 9>&-
}

for version in "$@"; do
    [ -e "$root/$version.ready" ] && continue
    mkdir -p "$root" "$wheels"
    make_missing "$@" </dev/null >"$root/log" 2>&1
    break
done
echo "$root/python-win"
