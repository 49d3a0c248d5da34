#!/usr/bin/env bash
# Makes the virtual machine in which the tests of tests/machine run, for kernel clients and file
# systems that the machine under the tests need not have: a Debian kernel and a small Debian with
# Samba, the kernel's NFS server and the tools of three file systems.
#
#   scripts/machine.sh [DIR]     makes DIR (default target/machine) unless it is there already
#
# Out: DIR/kernel, DIR/initrd (modules enough to find the disk), DIR/root.img (ext4, as /dev/vda).
# The guest runs /machine/init from a tar archive on its second disk: that is what a test brings.
# DEBIAN_MIRROR=URL takes Debian from elsewhere. Root is needed (debootstrap), two minutes, 1 GB.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive LC_ALL=C

dir=${1:-${CARGO_TARGET_DIR:-target}/machine}
# The guest runs programs that were compiled here, so it has the C library of here.
suite=bookworm
# shellcheck source=/dev/null
[ ! -r /etc/os-release ] || suite=$(. /etc/os-release; [ "${ID:-}" != debian ] || echo "${VERSION_CODENAME:-}")
suite=${suite:-bookworm}
PACKAGES=samba,nfs-kernel-server,nfs-common,kmod,iproute2,openssl,python3,procps,e2fsprogs,xfsprogs,btrfs-progs,busybox-static
# Modules that the initrd loads for a virtio disk with ext4, besides their dependencies.
DISK_MODULES='virtio_pci virtio_blk ext4 crc32c_generic'
IMAGE_SIZE=1500M

say() { printf 'machine: %s\n' "$*"; }
die() { printf 'machine: error: %s\n' "$1" >&2; exit "${2:-69}"; }

recipe=$(sha256sum "scripts/machine.sh" | cut -c1-16)-$suite
if [ "$(cat "$dir/recipe" 2>/dev/null)" = "$recipe" ]; then
  say "$dir is here"
  exit 0
fi
[ "$(id -u)" = 0 ] || die "making the machine needs root" 77
for program in debootstrap cpio python3 mkfs.ext4 qemu-system-x86_64; do
  command -v "$program" >/dev/null || die "$program is missing: .ci/run prepare installs it"
done

mirror=${DEBIAN_MIRROR:-}
# shellcheck disable=SC2016 # $(NAME) is apt's own syntax
[ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
  awk -v suite="$suite" '$1 == "Debian" && $2 == suite { print $3; exit }')
mirror=${mirror:-http://deb.debian.org/debian}

mkdir -p "$dir"
work=$(mktemp -d "$dir/work.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

say "debootstrap of $suite from $mirror"
debootstrap --variant=minbase --include="$PACKAGES" "$suite" "$root" "$mirror" >"$work/log" 2>&1 ||
  { tail -n 20 "$work/log" >&2; die "debootstrap failed (its last lines are above)"; }

say "the kernel"
# shellcheck disable=SC2016 # the shell inside expands it
chroot "$root" sh -ec '
  apt-get -q update
  kernel=$(apt-cache depends linux-image-amd64 | sed -n "s/^ *Depends: \(linux-image-[0-9].*\)/\1/p" | head -n 1)
  cd /var/cache/apt/archives && apt-get -q download "$kernel"
' >>"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; die "the kernel could not be fetched"; }
mkdir "$work/kernel"
dpkg-deb -x "$root"/var/cache/apt/archives/linux-image-*.deb "$work/kernel"
# An emulated processor would take as long to unpack it as for the rest of the boot.
python3 - "$work/kernel"/boot/vmlinuz-* "$work/vmlinux" <<'PY' || die "the kernel is packed in a way that is not known here"
import lzma
import sys

packed = open(sys.argv[1], "rb").read()
kernel = lzma.LZMADecompressor().decompress(packed[packed.index(b"\xfd7zXZ\0"):])
sys.exit(kernel[:4] != b"\x7fELF" or open(sys.argv[2], "wb").write(kernel) == 0)
PY
modules=$(echo "$work/kernel"/lib/modules/*)
[ -d "$modules" ] || modules=$(echo "$work/kernel"/usr/lib/modules/*)
version=$(basename "$modules")
# Of the network drivers only this machine's own.
find "$modules/kernel/drivers/net" -type f ! -name 'virtio_net.*' ! -name 'net_failover.*' -delete
for unused in drivers/{gpu,media,usb,scsi,infiniband,iio,staging,hwmon,hid,input,ata,bluetooth,mmc,mtd,nfc,platform} \
  sound net/{bluetooth,mac80211,wireless,netfilter,bridge,sctp,tipc} fs/{ocfs2,gfs2,ceph,afs,f2fs,jfs,reiserfs,ntfs,ntfs3,udf}; do
  rm -rf "${modules:?}/kernel/$unused"
done
mkdir -p "$root/lib/modules"
mv "$modules" "$root/lib/modules/$version"
chroot "$root" depmod "$version"

say "the disk"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale,info}
rm -rf "$root"/usr/lib/python3/dist-packages/samba/tests
mkdir -p "$root/machine"
# Everything a test needs comes from the second disk; what is printed here is for a machine without one.
cat >"$root/init" <<'INIT'
#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
ip link set lo up
tar -C /machine -xf /dev/vdb && . /machine/init
echo "machine: nothing more to do"
sync; echo o >/proc/sysrq-trigger; sleep 60
INIT
chmod 755 "$root/init"
truncate -s "$IMAGE_SIZE" "$work/root.img"
mkfs.ext4 -q -F -O ^has_journal -d "$root" "$work/root.img"

say "the initrd"
mkdir -p "$work/initrd"/{bin,dev,proc,disk,modules}
cp "$root/bin/busybox" "$work/initrd/bin/busybox" 2>/dev/null || cp "$root/usr/bin/busybox" "$work/initrd/bin/busybox"
for name in $DISK_MODULES; do
  chroot "$root" modprobe -S "$version" --show-depends "$name" | sed -n 's/^insmod //p'
done | awk '!seen[$1]++' >"$work/needed"
{
  echo '#!/bin/busybox sh'
  echo '/bin/busybox mount -t devtmpfs dev /dev'
  while read -r module; do
    cp "$root$module" "$work/initrd/modules/"
    echo "/bin/busybox insmod /modules/$(basename "$module")"
  done <"$work/needed"
  echo 'until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done'
  echo '/bin/busybox mount -t ext4 /dev/vda /disk'
  echo 'exec /bin/busybox switch_root /disk /init'
} >"$work/initrd/init"
chmod 755 "$work/initrd/init"
(cd "$work/initrd" && find . | cpio --quiet -o -H newc) >"$work/initrd.cpio"

mv "$work/vmlinux" "$dir/kernel"
mv "$work/initrd.cpio" "$dir/initrd"
mv "$work/root.img" "$dir/root.img"
echo "$recipe" >"$dir/recipe"
say "made in $SECONDS s: kernel $version, $(du -sh "$dir/root.img" | cut -f1) of disk"
