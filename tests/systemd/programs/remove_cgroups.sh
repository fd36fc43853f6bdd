# Removes the cgroups beneath $2, from the leaves up; they are shown at $1, an empty folder.
mount --make-rprivate /
mount -t cgroup2 cgroup2 "$1" && cd "$1" || exit 1
[ ! -e "$2" ] || find "$2" -depth -type d -exec rmdir {} + 2>/dev/null
