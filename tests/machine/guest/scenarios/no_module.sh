# A kernel without the file system, and a container without the capability: the cause tells what to do.
handler=$(cat /proc/sys/kernel/modprobe)
! grep -qw cifs /proc/filesystems || die "cifs is loaded already: this scenario must come before the others"
echo /bin/false >/proc/sys/kernel/modprobe
refused 69 'Error: failed to mount log share.' 'modprobe cifs' LOGS_ENABLED=yes TERMINAL_LOG=//nas/share
refused 69 "Error: failed to mount the 'fs' terminal." 'modprobe nfs' TERMINAL_FS=nas:/srv/keys
echo "$handler" >/proc/sys/kernel/modprobe

cat >/run/without <<'SH'
#!/bin/sh
exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin /machine/postern "$@"
SH
chmod 755 /run/without
without() { # LINE PROPERTY...
  local code=0 line=$1
  shift
  mkdir -p /srv/data
  (in_relay_env "$@" -- /run/without init) >"$LOG" 2>&1 || code=$?
  [ $code = 69 ] || die "exit code $code"
  grep -A1 -xF "$line" "$LOG" | grep -q 'cap_add: \[SYS_ADMIN\]' || die "no hint at the capability"
}
without 'Error: failed to mount log share.' LOGS_ENABLED=yes TERMINAL_LOG=//nas/share
without "Error: failed to mount the 'fs' terminal." TERMINAL_FS=nas:/srv/keys
