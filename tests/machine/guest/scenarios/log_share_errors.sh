# Every failure of a log share, with the contract's line, the cause, and no mount left.
line='Error: failed to mount log share.'
on=LOGS_ENABLED=yes

refused 69 "$line" 'Connection refused.*is the file server started' $on TERMINAL_LOG=//nas/share
samba
refused 69 "$line" "the server has no share 'nothing'" $on TERMINAL_LOG=//nas/nothing
refused 69 "$line" "no directory 'nowhere' on it" $on TERMINAL_LOG=//nas/share/nowhere
refused 69 "$line" 'does not exist\|No such file' $on TERMINAL_LOG=/mnt/nowhere
refused 69 "Error: logs are enabled but the 'log' terminal is not connected." '0.255.255.255' $on TERMINAL_LOG=//0.255.255.255/share
refused 69 "Error: logs are enabled but the 'log' terminal is not connected." 'nobody.invalid does not resolve' $on TERMINAL_LOG=//nobody.invalid/share
refused 64 'Error: terminal_log must be //server[:port]/share[/path], a server, or the absolute path of a mounted share' \
  "MTA_TERMINAL_LOG is '//nas'" $on TERMINAL_LOG=//nas
# Without logs the terminal has no effect.
relay TERMINAL_LOG=//nas/nothing
relay_off
samba_off

READ_ONLY=yes samba
refused 69 "$line" 'is not writable for uid 2525' $on TERMINAL_LOG=//nas/share
samba_off
GUESTS=no samba
refused 69 "$line" 'refuses guests' $on TERMINAL_LOG=//nas/share
samba_off
samba 'server min protocol = NT1' 'server max protocol = NT1'
refused 69 "$line" 'speaks nothing but SMB 1' $on TERMINAL_LOG=//nas/share
samba_off

# A server that accepts connections and sends nothing: the supervisor handles its signals all the same.
samba
pkill -STOP smbd
mkdir -p /srv/data
in_relay_env $on TERMINAL_LOG=//nas/share -- /machine/postern init >"$LOG" 2>&1 &
pid=$!
sleep 3
start=$SECONDS code=0
kill -TERM $pid
wait $pid || code=$?
[ $code = 143 ] || die "it ended with $code after SIGTERM while a server hung"
[ $((SECONDS - start)) -le 8 ] || die "it took $((SECONDS - start)) s to hear SIGTERM while a server hung"
pkill -CONT smbd
