# Key and certificate on terminal fs, and on a key volume: presented, renewed, and kept when their server dies.
make_pair() { # NAME
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=$1" \
    -keyout "$EXPORT/new.key" -out "$EXPORT/new.pem" 2>/dev/null
  chown "${OWNER:-65534}" "$EXPORT/new.key"
  chmod 600 "$EXPORT/new.key"
  mv "$EXPORT/new.pem" "$EXPORT/server.pem"
  mv "$EXPORT/new.key" "$EXPORT/server.key"
}
presents() { # NAME [ARGUMENT OF S_CLIENT...]
  local name=$1
  shift
  timeout 20 openssl s_client "$@" </dev/null 2>/dev/null | openssl x509 -noout -subject | grep -qx "subject=CN = $name"
}
tls=SSL_DISABLED=no
mkdir -p "$EXPORT"

# Root is mapped to nobody there (root_squash): a key of the user nobody, or of the relay's uid, can be read; one of root cannot.
make_pair one.example.org
nfs root_squash
sink
for version in 4 3; do
  [ $version = 4 ] || { nfs_off; nfs root_squash -N 4; }
  relay $tls "TERMINAL_FS=nas:$EXPORT"
  presents one.example.org -connect 127.0.0.1:465 || die "SMTPS presents another certificate"
  presents one.example.org -connect 127.0.0.1:25 -starttls smtp || die "STARTTLS presents another certificate"
  [ $version = 4 ] || break
  relay_off
done
make_pair two.example.org
wait_for 60 "the renewed certificate" presents two.example.org -connect 127.0.0.1:465

# The server dies: the loaded key stays in use, an event reports it, mail flows.
nfs_off
wait_for 90 "an event about the keys" grep -q 'stay in use' /var/log/appliance/log
presents two.example.org -connect 127.0.0.1:465 || die "the certificate is gone with its server"
send 3 keyless
wait_for 30 "three mails" arrived 3 keyless
relay_off

nfs root_squash
OWNER=2525 make_pair three.example.org
relay $tls "TERMINAL_FS=nas:$EXPORT"
presents three.example.org -connect 127.0.0.1:465 || die "the relay's own key is not used"
relay_off
OWNER=0 make_pair four.example.org
refused 66 "Error: couldn't find ssl keys on the key volume!" 'server.key (ssl_key_file): Permission denied' $tls "TERMINAL_FS=nas:$EXPORT"
nfs_off
nfs no_root_squash
relay $tls "TERMINAL_FS=nas:$EXPORT"
presents four.example.org -connect 127.0.0.1:465 || die "root's key is not used although the export lets root read it"
relay_off
