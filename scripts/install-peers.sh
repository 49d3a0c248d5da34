#!/usr/bin/env bash
# Installs the real mail programs that the tests talk to, and starts none of them.
#
#   scripts/install-peers.sh            install what is missing
#   scripts/install-peers.sh --check    only say what is missing (exit 69 if anything is)
#
# Debian refuses to have Postfix and Exim on one machine, because each wants to be *the* mail
# server. The tests want both, and neither as the machine's server. So Postfix is installed as a
# package (it needs its users and its set-gid tools), and Exim is unpacked beside the system, into
# $EXIM_ROOT, with a link as /usr/local/sbin/exim4. Run it with a configuration of its own:
#
#   exim4 -C /path/to/test.conf -bd ...
#
# Root is needed. Debian and its descendants only.
set -euo pipefail

EXIM_ROOT=/usr/local/lib/postern-peers/exim
EXIM_LINK=/usr/local/sbin/exim4

# Drives Chromium, checks accessibility, compares the API with its document, knows the schemas of Kubernetes; from PyPI, separate from the system's Python.
PYTHON_ROOT=/usr/local/lib/postern-peers/python
PYTHON_PACKAGES=(playwright==1.65.2 axe-playwright-python==0.1.8 schemathesis==4.32.5 kubernetes-validate==1.37.0)
# Drives Chromium, checks accessibility, compares the API with its document; a token endpoint (OAuth2), and a mail server that
# can be scripted; from PyPI, separate from the system's Python.
PYTHON_ROOT=/usr/local/lib/postern-peers/python
PYTHON_PACKAGES=(playwright==1.65.2 axe-playwright-python==0.1.8 schemathesis==4.32.5
  Authlib==1.9.10 Flask==3.1.3 aiosmtpd==1.4.6)

PACKAGES=(
  postfix                                        # next hop and sender; smtp-source, smtp-sink
  dovecot-core dovecot-submissiond                                   # asks for a login, behind Postfix
  nginx-light libnginx-mod-mail                  # a proxy before the page, and before SMTP (XCLIENT)
  haproxy                                        # a proxy before SMTP
  swaks libio-socket-ssl-perl libnet-dns-perl    # SMTP by hand, with TLS and MX look-ups
  dnsmasq-base                                   # the binary alone, without Debian's service
  unbound
  python3 python3-venv python3-yaml openssl
  pflogsumm e2fsprogs util-linux                 # reads the mail log; file systems that fill up and hang
  prometheus prometheus-pushgateway
  opendkim python3-dkim python3-nacl             # verify signatures; dkimpy needs nacl for Ed25519
  groff-base zsh fish                            # read the manual pages and the completions
  # Runtimes of web applications, for docs/applications.md.
  default-jre-headless tomcat10-common libtomcat10-java libjakarta-mail-java libjakarta-activation-java
  python3-django php-cli libphp-phpmailer php-symfony-mailer msmtp nodejs node-nodemailer
  gsasl                                          # logs in by each mechanism
)

# A name for each program that a test calls, or a path for each file that a program loads.
PROGRAMS=(
  postfix dovecot /usr/lib/dovecot/submission smtp-source smtp-sink swaks /usr/sbin/nginx haproxy dnsmasq unbound python3 /usr/lib/python3/dist-packages/yaml openssl
  prometheus prometheus-pushgateway exim4
  opendkim /usr/lib/python3/dist-packages/dkim /usr/lib/python3/dist-packages/nacl
  pflogsumm mkfs.ext4 fsfreeze groff
  java php msmtp gsasl node django-admin /usr/share/tomcat10/bin/catalina.sh /usr/share/java/jakarta-mail.jar
  /usr/share/php/libphp-phpmailer/autoload.php /usr/share/php/Symfony/Component/Mailer/autoload.php
  /usr/share/nodejs/nodemailer /usr/lib/nginx/modules/ngx_mail_module.so
)

# Not every PATH has the sbin directories, and all mail programs are there.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf 'peers: %s\n' "$*"; }
die() { printf 'peers: error: %s\n' "$*" >&2; exit "${2:-69}"; }

missing_programs() {
  local program
  for program in "${PROGRAMS[@]}"; do
    command -v "$program" >/dev/null 2>&1 || [[ $program = /* && -e $program ]] || printf '%s\n' "$program"
  done
}

python_is_ready() {
  [ "$("$PYTHON_ROOT/bin/python3" -m pip freeze 2>/dev/null | grep -cxF "$(printf '%s\n' "${PYTHON_PACKAGES[@]}")")" = "${#PYTHON_PACKAGES[@]}" ]
}

missing=$(missing_programs | tr '\n' ' ')
python_is_ready || missing+="the packages in $PYTHON_ROOT "
if [ -z "$missing" ] && exim4 -C /dev/null -bV >/dev/null 2>&1; then
  say "all present"
  exit 0
fi
if [ "${1:-}" = --check ]; then
  say "missing: ${missing:-exim4 does not run}" >&2
  exit 69
fi
[ "$(id -u)" = 0 ] || { printf 'peers: error: run me as root (missing: %s)\n' "$missing" >&2; exit 77; }
command -v apt-get >/dev/null || die "no apt-get here; install these by hand: $missing"
say "missing: $missing"

# Debian starts each daemon as it is installed. This file is the documented way to forbid that.
# A machine that already has one (a container, a build host) keeps its own.
policy=/usr/sbin/policy-rc.d
work=$(mktemp -d)
made_policy=no
cleanup() {
  rm -rf "$work"
  if [ "$made_policy" = yes ]; then rm -f "$policy"; fi
}
trap cleanup EXIT
if [ ! -e "$policy" ]; then
  made_policy=yes
  printf '#!/bin/sh\n# Temporary, by install-peers.sh: install, but do not start.\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0)

# A third-party source that is down must not stop this: what counts is whether the install works.
"${apt[@]}" update >"$work/update.log" 2>&1 || say "apt-get update complained, going on: $(tail -n 1 "$work/update.log")"

# Postfix asks what kind of mail server the machine shall be. The answer is: none.
printf 'postfix postfix/main_mailer_type select No configuration\n' | debconf-set-selections

"${apt[@]}" install --no-install-recommends "${PACKAGES[@]}" || die "apt-get install failed, see above"

if ! exim4 -C /dev/null -bV >/dev/null 2>&1; then
  say "unpacking Exim into $EXIM_ROOT"
  # Its libraries are ordinary packages. Take them from the package's own list, without the parts
  # that belong to Exim as the machine's server (exim4-*, debconf).
  depends=$(apt-cache show --no-all-versions exim4-daemon-light |
    sed -n 's/^Depends: //p' | tr ',' '\n' | sed 's/(.*)//; s/|.*//; s/ //g' |
    grep -v -e '^exim4' -e '^debconf' -e '^cdebconf' -e '^$' | sort -u)
  # shellcheck disable=SC2086 # a list of package names, to be split
  "${apt[@]}" install --no-install-recommends $depends
  mkdir -p "$EXIM_ROOT"
  # apt downloads as its own user; give it a directory that it may write.
  chmod 777 "$work"
  (cd "$work" && apt-get -q download exim4-daemon-light exim4-base)
  for deb in "$work"/exim4-*.deb; do dpkg -x "$deb" "$EXIM_ROOT"; done
  # Debian's Exim looks this account up by name when it starts, and gives up without it.
  getent passwd Debian-exim >/dev/null ||
    adduser --system --group --quiet --no-create-home --home /nonexistent \
      --force-badname Debian-exim 2>/dev/null ||
    useradd --system --user-group --no-create-home --home-dir /nonexistent \
      --shell /usr/sbin/nologin Debian-exim
  mkdir -p "$(dirname "$EXIM_LINK")"
  ln -sfn "$EXIM_ROOT/usr/sbin/exim4" "$EXIM_LINK"
  exim4 -C /dev/null -bV >/dev/null || die "the unpacked Exim does not run (above)"
fi

if ! python_is_ready; then
  say "making $PYTHON_ROOT"
  # Debian's own Python: another one on the path may not have what a virtual environment takes.
  /usr/bin/python3 -m venv "$PYTHON_ROOT"
  "$PYTHON_ROOT/bin/python3" -m pip install -q "${PYTHON_PACKAGES[@]}" || die "pip could not install ${PYTHON_PACKAGES[*]}"
fi

missing=$(missing_programs | tr '\n' ' ')
[ -z "$missing" ] || die "still missing after the install: $missing"
say "ready: $(postconf -h mail_version 2>/dev/null | sed 's/^/Postfix /'), $(exim4 -C /dev/null -bV | sed -n '1s/^Exim version \([^ ]*\).*/Exim \1/p'), $(swaks --version | head -n 1)"
