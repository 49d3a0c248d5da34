# Block devices as data and key volumes, with each file system; their errors.
modprobe loop
disk() { # NAME MKFS...: a loop device with a file system
  local image=/srv/$1.img
  shift
  truncate -s 320M "$image"
  [ $# = 0 ] || "$@" "$image" >/dev/null 2>&1 || die "$* failed"
  losetup -f --show "$image"
}
sink
for kind in ext4 xfs btrfs; do
  data=$(disk "data-$kind" "mkfs.$kind")
  key=$(disk "key-$kind" "mkfs.$kind")
  mkdir -p /mnt/key
  mount "$key" /mnt/key
  echo "$kind" >/mnt/key/mark
  umount /mnt/key
  relay "VOLUME_DATA=$data" "VOLUME_KEY=$key"
  grep -q "^$data /data $kind " /proc/mounts || die "the data volume is no $kind at /data"
  mounted /data rw nosuid nodev noexec
  mounted /key ro nosuid nodev noexec
  [ "$(cat /key/mark)" = "$kind" ] || die "the key volume cannot be read"
  send 3 "$kind"
  wait_for 30 "three mails" arrived 3 "$kind"
  [ "$(stat -c %u /data)" = 2525 ] || die "the data volume does not belong to the core"
  ls /data | grep -q . || die "the queue is not on the device"
  relay_off
  not_mounted /data
  not_mounted /key
done
# What is on it is there for the next start.
relay "VOLUME_DATA=$data"
relay_off

data='Error: failed to mount data volume.'
key='Error: failed to mount key volume.'
empty=$(disk empty)
refused 69 "$data" 'no file system that is known here; make one: mkfs.ext4' "VOLUME_DATA=$empty"
refused 69 "$key" 'no file system that is known here; make one: mkfs.ext4' "VOLUME_KEY=$empty"
swap=$(disk swap mkswap)
refused 69 "$data" 'it holds swap space' "VOLUME_DATA=$swap"
damaged=$(disk damaged mkfs.xfs)
dd if=/dev/zero of="$damaged" bs=512 seek=0 count=1 conv=notrunc oflag=seek_bytes status=none
printf XFSB | dd of="$damaged" conv=notrunc status=none
refused 69 "$data" 'is damaged' "VOLUME_DATA=$damaged"

# A device that takes no writes will do for keys, even one that was not unmounted properly; it will not for mail.
torn=/srv/torn.img
truncate -s 64M $torn
mkfs.ext4 -q $torn
device=$(losetup -f --show $torn)
mount "$device" /mnt/key
echo torn >/mnt/key/mark
sync -f /mnt/key
cp $torn /srv/copy.img
umount /mnt/key
reader=$(losetup -r -f --show /srv/copy.img)
relay "VOLUME_KEY=$reader"
[ -e /key/lost+found ] || die "the key volume cannot be read"
relay_off
refused 69 "$data" 'is not writable' "VOLUME_DATA=$reader"
