# Has the kernel kill process $3 for want of memory, in a cgroup $2 of too little; $1 is an empty folder, $4 a Python.
set -e
mount --make-rprivate /
if mount -t cgroup -o memory memory "$1" 2>/dev/null; then
    limit=memory.limit_in_bytes kills=memory.oom_control
else
    mount -t cgroup2 cgroup2 "$1"
    echo +memory >"$1/cgroup.subtree_control"
    limit=memory.max kills=memory.events
fi
mkdir "$1/$2"
trap 'for i in 1 2 3 4 5 6 7 8 9; do rmdir "$1/$2" 2>/dev/null && break || sleep 0.1; done' EXIT
echo 32M >"$1/$2/$limit"
echo "$3" >"$1/$2/cgroup.procs"
echo 1000 >"/proc/$3/oom_score_adj"
# shellcheck disable=SC2016 # the shell within expands these
sh -c 'echo $$ >"$1" && exec "$2" -c "bytearray(64 << 20)"' sh "$1/$2/cgroup.procs" "$4" || true
grep '^oom_kill [1-9]' "$1/$2/$kills"
