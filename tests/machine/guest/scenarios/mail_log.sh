# The mail log on a share: a line for what happened to each mail; then the server is stopped and started again under load, and
# nothing is lost: neither mail, nor lines, nor their order.
file=$SHARE/srv1/logs/hub1_maillog
sent() { grep -c "to=<$1-[0-9]*@example.net>.*status=sent" "$file" 2>/dev/null || true; }
has_sent() { [ "$(sent "$1")" = "$2" ]; }

sink
samba
relay LOGS_ENABLED=yes TERMINAL_LOG=//nas/share MAILLOG_FILENAME=/srv1/logs/hub1_maillog
send 5 first
wait_for 30 "the lines of five mails on the share" has_sent first 5
expect 'postfix/smtpd' "$file"

send 150 load &
load=$!
wait_for 30 "the load" arrived_some load
samba_off
# Mail that comes while there is no server is accepted and delivered as usual.
send 40 dark
wait "$load" || die "a client was not served while the log share was away"
wait_for 60 "delivery of the load" arrived 150 load
wait_for 60 "delivery while the share is away" arrived 40 dark
[ "$(sent dark)" = 0 ] || die "the share was not away at all"
samba
wait_for 60 "the lines of the mails that came meanwhile" has_sent dark 40
has_sent load 150 || die "$(sent load) lines of 150 mails are on the share"
send 5 last
wait_for 30 "the lines of the last mails" has_sent last 5
[ "$(sent first)" = 5 ] || die "a line has come twice"
# In order: by their times, and each mail's lines one after the other.
python3 - "$file" <<'PY'
import re, sys
times, sent = [], {}
for number, line in enumerate(open(sys.argv[1])):
    times.append(line[:15].split()[2])
    found = re.search(r"to=<(\w+)-(\d+)@example.net>.*status=sent", line)
    if found:
        assert found.groups() not in sent, f"twice: {line}"
        sent[found.groups()] = number
assert times == sorted(times) or "00:00" in "".join(times), "the times of the lines go back"
first, last = [n for (name, _), n in sent.items() if name == "first"], [n for (name, _), n in sent.items() if name == "last"]
assert max(first) < min(last), "the order of the mails is another one"
assert len(sent) == 200, len(sent)
PY
relay_off
not_mounted /terminals/log
