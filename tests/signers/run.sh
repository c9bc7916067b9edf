#!/usr/bin/env bash
# Makes fresh statements with each signer. `run.sh setup` installs the two libraries below tests/signers (ignored by git);
# `run.sh DIR` writes node.json, chains.json, python.json and openssl.json into DIR, leaving out a signer that is not installed.
# The committed fixtures were made with: tests/signers/run.sh tests/vectors/statements; that of security events with
# tests/signers/venv/bin/python tests/signers/signals.py >tests/vectors/signals/python.json
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
case ${1:?usage: run.sh setup, or run.sh DIR} in
  setup)
    (cd "$here" && npm install --no-audit --no-fund --no-package-lock --silent)
    python3 -m venv "$here/venv" && "$here/venv/bin/pip" install --quiet 'jwcrypto==1.5.6'
    ;;
  *)
    out=$(mkdir -p "$1" && cd "$1" && pwd)
    if [ -d "$here/node_modules/jose" ]; then node "$here/make.mjs" >"$out/node.json"; node "$here/chains.mjs" >"$out/chains.json"; else echo "skipped: node jose (run.sh setup)"; fi
    if [ -x "$here/venv/bin/python" ]; then "$here/venv/bin/python" "$here/make.py" >"$out/python.json"; else echo "skipped: jwcrypto (run.sh setup)"; fi
    if command -v jq xxd openssl >/dev/null; then "$here/make.sh" >"$out/openssl.json"; else echo "skipped: openssl (needs jq and xxd)"; fi
    ;;
esac
