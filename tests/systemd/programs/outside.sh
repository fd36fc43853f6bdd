# Makes a machine's root and boots systemd in it: $1 is an empty folder, $2 a cgroup's name; what follows is bound.
# It stays outside the machine, and boots it anew where its power was cut.
set -e
mount --make-rprivate /
mkdir "$1/cgroup" "$1/disk" "$1/root"
mount -t cgroup2 cgroup2 "$1/cgroup"
mkdir "$1/cgroup/$2"
mount -t tmpfs -o mode=755 disk "$1/disk"
mkdir "$1/disk/upper" "$1/disk/work" "$1/disk/units"
lower=/
if [ -n "$INSTALLED" ]; then
    cp -r "$INSTALLED" "$1/disk/installed"
    lower=$1/disk/installed:/
fi
mount -t overlay -o "lowerdir=$lower,upperdir=$1/disk/upper,workdir=$1/disk/work" overlay "$1/root"
folder=$1 name=$2
shift 2
cd "$folder/root"

# The units that are named, and no others; nor what makes, enables or changes units: generators, presets, drop-ins.
units=usr/lib/systemd/system
for unit in $UNITS; do cp -L "$units/$unit" "$folder/disk/units"; done
rm -rf etc/systemd etc/init.d etc/rc?.d etc/tmpfiles.d usr/local/lib/systemd $units usr/lib/systemd/*-generators \
    usr/lib/systemd/*.conf.d usr/lib/systemd/*-preset usr/lib/tmpfiles.d
mkdir -p etc/systemd/system
mv "$folder/disk/units" $units
for link in $WANTED; do
    mkdir -p "$units/${link%/*}"
    ln -s "../${link#*/}" "$units/$link"
done
echo 0123456789abcdef0123456789abcdef >etc/machine-id # one without is booted for the first time, and enables units

cp /etc/hosts /etc/resolv.conf etc/
rm -rf var/lib/pnmcheck var/log/journal
[ -z "$TREE" ] || cp -r "$TREE/." .
for path; do
    mkdir -p ".$path"
    mount --bind "$path" ".$path"
    mount -o remount,bind,ro ".$path"
done
while :; do
    # shellcheck disable=SC2016 # the shell within expands these
    setpriv --pdeathsig KILL unshare --pid --mount --uts --ipc --fork --kill-child \
        sh -ec 'echo 0 >"$1/cgroup/$2/cgroup.procs"; cd "$1/root"; exec unshare --cgroup sh -e "$INSIDE" "$1"' \
        sh "$folder" "$name" || rm "$folder/disk/boots" # its status tells nothing: unshare has trouble with a kill
done
