# The export in every version of NFS; read only; unmounted at the end; no owner on it is changed.
mkdir -p "$EXPORT"
echo key >"$EXPORT/server.key"
chmod 600 "$EXPORT/server.key"
for version in 4.2 4.1 4.0 3; do
  case $version in
    4.2) nfs no_root_squash -V 4.2 ;;
    4.1) nfs no_root_squash -N 4.2 ;;
    4.0) nfs no_root_squash -N 4.2 -N 4.1 ;;
    3) nfs no_root_squash -N 4 ;;
  esac
  relay "TERMINAL_FS=nas:$EXPORT"
  mounted /terminals/fs "vers=$version" ro nosuid nodev noexec soft sec=sys
  [ "$(cat /terminals/fs/server.key)" = key ] || die "the key cannot be read"
  relay_off
  not_mounted /terminals/fs
  nfs_off
done
[ "$(stat -c %u:%a "$EXPORT/server.key")" = 0:600 ] || die "the key on the server was changed"

nfs no_root_squash
relay "TERMINAL_FS=nas:2049:$EXPORT"
mounted /terminals/fs vers=4.2
relay_off
mkdir -p /mnt/keys
# As in docs/terminals.md for the engine.
mount -i -t nfs -o addr=127.0.0.1,nfsvers=4,ro,soft,timeo=30,retrans=2,actimeo=5 ":$EXPORT" /mnt/keys
relay TERMINAL_FS=/mnt/keys
relay_off
mounted /mnt/keys ro
