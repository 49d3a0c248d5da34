# Every way in which an export fails to come up.
line="Error: failed to mount the 'fs' terminal."
refused 69 "$line" 'Connection refused.*is the file server started' TERMINAL_FS=nas:/srv/keys
nfs root_squash
refused 69 "$line" 'the server has no export /srv/nothing' TERMINAL_FS=nas:/srv/nothing
refused 69 "$line" 'No such file' TERMINAL_FS=/mnt/nowhere
echo "$EXPORT 192.0.2.1(ro,no_subtree_check,fsid=1)" >/etc/exports
exportfs -ra
refused 69 "$line" 'does not export\|no export' "TERMINAL_FS=nas:$EXPORT"
refused 64 'Error: both the key volume and the '"'fs'"' terminal are connected; use one of them.' 'one place' \
  "TERMINAL_FS=nas:$EXPORT" VOLUME_KEY=/srv
