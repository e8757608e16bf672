# A Debian with systemd as its process 1, in namespaces of its own. $1: root, $2: name of its control group.
set -e
mount --make-rprivate /
groups=$(mktemp -d)
mount -t cgroup2 cgroup2 "$groups"
mkdir -p "$groups/$2"
echo $$ > "$groups/$2/cgroup.procs"
export ROOT="$1"
exec unshare --pid --fork --kill-child=SIGKILL --mount --ipc --uts --cgroup sh -ec '
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
# What is the whole machine'\''s stays as it is.
mount --bind "$ROOT/proc/sys" "$ROOT/proc/sys"
mount -o remount,ro,bind "$ROOT/proc/sys"
mount -t sysfs sysfs "$ROOT/sys"
mount -t cgroup2 cgroup2 "$ROOT/sys/fs/cgroup"
mount -t bpf -o mode=700 bpf "$ROOT/sys/fs/bpf"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/run"
mount -t tmpfs tmpfs "$ROOT/tmp"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/dev"
for device in null zero full random urandom tty; do
    touch "$ROOT/dev/$device"
    mount --bind "/dev/$device" "$ROOT/dev/$device"
done
mkdir -p "$ROOT/dev/pts" "$ROOT/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$ROOT/dev/pts"
ln -s pts/ptmx "$ROOT/dev/ptmx"
ln -s /proc/self/fd "$ROOT/dev/fd"
cd "$ROOT"
mkdir -p .old
pivot_root . .old
umount -l /.old
# As on a machine: what a service mounts for itself, its credentials, is found by others.
mount --make-rshared /
exec env -i container=sentinel-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --show-status=no
'
