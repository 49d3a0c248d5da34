# A data volume on a file server: refused, however the engine mounted it, and foreseen; nothing is left there.
data='Error: failed to mount data volume.'
foreseen() { # NAME PATH
  local report code=0
  report=$(in_relay_env "VOLUME_DATA=$2" -- /machine/postern check) || code=$?
  [ "$code" = 1 ] || die "check ends with $code and not with 1: $report"
  grep -F "would stop here with: $data ($2 lies on a file server ($1)" <<<"$report" || die "not foreseen for $1: $report"
}

nfs rw,async,no_root_squash
mkdir -p /mnt/nfs
for version in 4.2 3; do
  mount -i -t nfs -o "addr=127.0.0.1,mountaddr=127.0.0.1,nfsvers=$version,nolock,rw" "127.0.0.1:$EXPORT" /mnt/nfs
  mkdir -p /mnt/nfs/queue
  chmod 777 /mnt/nfs/queue
  refused 69 "$data" 'lies on a file server (NFS).*-v mta-data:/data' VOLUME_DATA=/mnt/nfs/queue
  # Also where the directory is still to be made.
  refused 69 "$data" 'lies on a file server (NFS)' VOLUME_DATA=/mnt/nfs/new
  foreseen NFS /mnt/nfs/queue
  foreseen NFS /mnt/nfs/new
  [ ! -e /mnt/nfs/new ] || die "a directory was made on the server"
  [ -z "$(ls -A /mnt/nfs/queue)" ] || die "something was written to the server"
  umount /mnt/nfs
done

samba
mkdir -p /mnt/cifs
mount -i -t cifs -o ip=127.0.0.1,username=guest,password=,vers=3.0,rw //127.0.0.1/share /mnt/cifs
refused 69 "$data" 'lies on a file server (CIFS)' VOLUME_DATA=/mnt/cifs
foreseen CIFS /mnt/cifs
