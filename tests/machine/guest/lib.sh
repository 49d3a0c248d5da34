# What the scenarios are written in. Each runs alone, as root, in a machine that is thrown away.

LOG=/run/relay.log
SHARE=/srv/share
EXPORT=/srv/keys
RELAY=

# Shown when a scenario fails.
exec 9>/run/trace
BASH_XTRACEFD=9
PS4='+ ${SECONDS} s: '
set -x

die() { echo "FAILED: $*"; exit 1; }

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
  local left=$(($1 * 10)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ $left -gt 0 ] || die "waited in vain for: $what"
    sleep 0.1
  done
}

# expect TEXT FILE: the text is in the file.
expect() { grep -qF -- "$1" "$2" || die "no '$1' in $2"; }

listens() { ss -Hltn "sport = :$1" | grep -q .; }

# ------------------------------------------------------------------------------------- file servers --
# samba [GLOBAL OPTION...]: a NAS that takes guests; its options in the manner of smb.conf.
samba() {
  local port=445 option
  mkdir -p "$SHARE"
  chmod 777 "$SHARE"
  {
    printf '[global]\nload printers = no\ndisable spoolss = yes\nmap to guest = Bad User\nguest account = nobody\n'
    for option in "$@"; do
      echo "$option"
      case $option in 'smb ports = '*) port=${option##* } ;; esac
    done
    printf '[share]\npath = %s\nguest ok = %s\nread only = %s\n' "$SHARE" "${GUESTS:-yes}" "${READ_ONLY:-no}"
  } >/etc/samba/smb.conf
  smbd -D
  wait_for 20 "smbd" listens "$port"
}
samba_off() {
  pkill -9 smbd || true
  while pgrep smbd >/dev/null; do sleep 0.1; done
}

# nfs OPTIONS [NFSD ARGUMENT...]: the kernel's NFS server.
nfs() {
  local options=$1
  shift
  mkdir -p "$EXPORT"
  echo "$EXPORT *(ro,no_subtree_check,fsid=1,$options)" >/etc/exports
  modprobe nfsd
  mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
  pgrep rpcbind >/dev/null || rpcbind -w
  exportfs -ra
  rpc.nfsd "$@" 2
  rpc.mountd
  wait_for 20 "nfsd" listens 2049
  # No client has to reclaim state from the former server.
  echo Y >/proc/fs/nfsd/v4_end_grace 2>/dev/null || true
}
nfs_off() {
  rpc.nfsd 0 || true
  pkill rpc.mountd || true
}

# ---------------------------------------------------------------------------------------- the relay --
# in_relay_env PROPERTY=VALUE... -- COMMAND: sound properties; those given come on top. It becomes the command, so that a signal to
# it reaches the relay: to be called in a subshell, or in the background.
in_relay_env() {
  local set=()
  while [ "$1" != -- ]; do set+=("MTA_$1"); shift; done
  shift
  exec env -i PATH="$PATH" MTA_LISTEN=127.0.0.1 MTA_HOSTNAME=mta.example.org MTA_VOLUME_DATA=/srv/data \
    MTA_SMART_RELAY='[127.0.0.1]:2525' "${set[@]}" "$@"
}

# relay PROPERTY=VALUE...: starts it, and returns when it is ready.
relay() {
  mkdir -p /srv/data
  : >"$LOG"
  in_relay_env "$@" -- /machine/postern init >>"$LOG" 2>&1 &
  RELAY=$!
  local waited=0
  until [ -e /run/postern/ready ]; do
    kill -0 "$RELAY" 2>/dev/null || die "the relay ended before it was ready"
    waited=$((waited + 1))
    [ $waited -lt 300 ] || die "the relay is not ready after a minute"
    sleep 0.2
  done
}

# relay_off: asks it to stop, which it answers with 128 + SIGTERM.
relay_off() {
  local code=0
  kill -TERM "$RELAY"
  wait "$RELAY" || code=$?
  [ $code = 143 ] || die "the relay ended with $code after SIGTERM"
}

# refused CODE LINE CAUSE PROPERTY=VALUE...: the relay does not start, with this line, this cause and this exit code.
refused() {
  local code=0 wanted=$1 line=$2 cause=$3
  shift 3
  mkdir -p /srv/data
  (in_relay_env "$@" -- timeout 100 /machine/postern init) >"$LOG" 2>&1 || code=$?
  [ $code = "$wanted" ] || die "exit code $code, not $wanted, for: $*"
  grep -qxF -- "$line" "$LOG" || die "no line '$line' for: $*"
  grep -A1 -xF -- "$line" "$LOG" | grep -q -- "^  .*$cause" || die "no cause like '$cause' for: $*"
  ! grep -q ' /terminals/\| /key ' /proc/mounts || die "a mount was left behind for: $*"
}

# mounted POINT OPTION...: what is mounted there has these options.
mounted() {
  local - point=$1 line options option
  set +x
  shift
  line=$(grep " $point " /proc/mounts | tail -n 1) || die "nothing is mounted at $point"
  read -r _ _ _ options _ <<<"$line"
  for option in "$@"; do
    [[ ",$options," = *",$option,"* ]] || die "no option $option: $line"
  done
}
not_mounted() { ! grep " $1 " /proc/mounts || die "$1 is still mounted"; }

# --------------------------------------------------------------------------------------------- mail --
# sink: takes all mail into /srv/mail.
sink() {
  mkdir -p /srv/mail
  /machine/postern sink --listen 127.0.0.1:2525 --maildir /srv/mail >/run/sink.log 2>&1 &
  wait_for 20 "the sink" listens 2525
}
# send COUNT [NAME []: mails with subjects NAME-1, NAME-2 ..., each answered 250, in one session.
send() {
  local - n socket count=$1 name=${2:-mail}
  set +x
  exec {socket}<>/dev/tcp/127.0.0.1/25
  say "" 220
  say $'HELO guest.example.org\r\n' 250
  for n in $(seq "$count"); do
    say $'MAIL FROM:<a@example.org>\r\n' 250
    say "RCPT TO:<$name-$n@example.net>"$'\r\n' 250
    say $'DATA\r\n' 354
    say "Subject: $name-$n"$'\r\n\r\nhello\r\n.\r\n' 250
  done
  say $'QUIT\r\n' 221
  exec {socket}>&-
}
# say TEXT CODE: on send's connection, and hears the answer.
say() {
  local answer
  printf %s "$1" >&"$socket"
  IFS= read -r -t 60 answer <&"$socket" || die "no answer to: $1"
  case $answer in "$2"*) ;; *) die "after: $1 the relay said: $answer" ;; esac
}
# arrived COUNT [NAME]: so many different ones are with the sink, each once.
arrived() {
  local all different
  all=$(grep -rhi "^Subject: ${2:-mail}-" /srv/mail/new 2>/dev/null | wc -l)
  different=$(grep -rhi "^Subject: ${2:-mail}-" /srv/mail/new 2>/dev/null | sort -u | wc -l)
  [ "$all" = "$1" ] && [ "$different" = "$1" ]
}

arrived_some() { grep -qri "^Subject: $1-" /srv/mail/new; }

# ---------------------------------------------------------------------------------------------- end --
# clean: as if nothing had been.
clean() {
  local point
  pkill -CONT smbd
  pkill -9 -x postern
  sleep 0.2
  # While their servers are running: umount(8) accesses what it unmounts.
  for point in $(awk '$2 ~ "^/(terminals|srv|key|data|mnt)" { print $2 }' /proc/mounts | sort -r); do umount -l "$point"; done
  samba_off
  nfs_off
  rm -f /var/log/appliance/log
  losetup -D 2>/dev/null
  rm -rf /srv/* /run/postern /data /key
  true
} >/dev/null 2>&1
