# The log share in every dialect, by every form of the property; unmounted at the end; mail flows meanwhile.
sink
for dialect in SMB2_10:0x210 SMB3_00:0x300 SMB3_11:0x311; do
  samba "server min protocol = ${dialect%:*}" "server max protocol = ${dialect%:*}"
  relay LOGS_ENABLED=yes TERMINAL_LOG=//nas/share
  expect "Dialect ${dialect#*:}" /proc/fs/cifs/DebugData
  mounted /terminals/log rw nosuid nodev noexec soft uid=2525 gid=2525 forceuid file_mode=0600 dir_mode=0700
  send 5 "${dialect%:*}"
  wait_for 30 "five mails" arrived 5 "${dialect%:*}"
  relay_off
  not_mounted /terminals/log
  samba_off
done

mkdir -p "$SHARE/logs/of mta"
chmod 777 "$SHARE/logs/of mta"
samba 'smb ports = 1445'
relay LOGS_ENABLED=yes "TERMINAL_LOG=//nas:1445/share/logs/of mta"
echo inside >"$SHARE/logs/of mta/mark"
[ "$(cat /terminals/log/mark)" = inside ] || die "it is not the directory that was asked for"
relay_off
samba_off

# A server that knows no guest by name takes one without.
samba 'map to guest = Never'
relay LOGS_ENABLED=yes TERMINAL_LOG=//nas/share
mounted /terminals/log sec=none
relay_off
samba_off

samba
relay LOGS_ENABLED=yes TERMINAL_LOG=nas
mounted /terminals/log uid=2525
grep -q '^//nas/share /terminals/log ' /proc/mounts || die "a server alone means its share"
# One that was killed leaves its mount, and the next one takes it over.
kill -9 "$RELAY"
wait "$RELAY" || true
wait_for 30 "the end of its core" sh -c '! pgrep -x postern -f core'
rm -f /run/postern/ready
relay LOGS_ENABLED=yes TERMINAL_LOG=nas
[ "$(grep -c ' /terminals/log ' /proc/mounts)" = 1 ] || die "mounts are piled up"
relay_off
not_mounted /terminals/log

# Mounted by another program, as in docs/terminals.md for the engine: used as it is, and left mounted.
mkdir -p /mnt/log
options=addr=127.0.0.1,username=guest,password=,uid=2525,gid=2525,file_mode=0600,dir_mode=0700,soft,echo_interval=5
mount -i -t cifs -o $options //127.0.0.1/share /mnt/log
relay LOGS_ENABLED=yes TERMINAL_LOG=/mnt/log
relay_off
mounted /mnt/log uid=2525
