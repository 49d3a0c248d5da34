#!/usr/bin/env bash
# Sourced by scripts that call cargo: finds what `.ci/run prepare` has installed, also in a shell
# that was there before.

# The oldest Rust that compiles this, and the one that `.ci/run` fetches.
RUST_VERSION=1.95

export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# Whether the Rust that answers is new enough.
rust_is_new_enough() {
  local version
  version=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) && [ -n "$version" ] &&
    printf '%s\n' "$RUST_VERSION" "$version" | sort -CV
}

if ! rust_is_new_enough && rustup toolchain list 2>/dev/null | grep -q "^$RUST_VERSION"; then
  export RUSTUP_TOOLCHAIN=$RUST_VERSION
fi
