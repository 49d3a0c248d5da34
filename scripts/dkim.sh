#!/usr/bin/env bash
# Signs so many mails of all forms with DKIM, and has each verified by dkimpy and OpenDKIM.
#
#   scripts/dkim.sh [MAILS]      default: 10000
#
# The same test has a thousand in every run of the suite. Needs what scripts/install-peers.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."
POSTERN_DKIM_MAILS="${1:-10000}" cargo test --locked --test walk -- --nocapture \
    a_thousand_mails_of_all_forms
