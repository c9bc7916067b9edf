#!/usr/bin/env bash
# Signs every statement of plan.json with the `openssl` command line, headers that no library would make among them, and
# writes a fixture to standard output. Needs jq and xxd.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

b64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
hex64() { xxd -r -p | b64url; }

# An ECDSA signature is a DER sequence of two integers; JWS wants both with a fixed width (RFC 7518 section 3.4).
ecdsa() { # key digest hex-width
  openssl dgst "-$2" -sign "keys/$1.pem" "$work/input" | openssl asn1parse -inform DER |
    awk -F: -v width="$3" '/INTEGER/ { n = $4; while (length(n) < width) n = "0" n; printf "%s", substr(n, length(n) - width + 1) }' | hex64
}
rsa_pkcs1() { openssl dgst "-$2" -sign "keys/$1.pem" "$work/input" | b64url; }
rsa_pss() { openssl dgst "-$2" -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -sign "keys/$1.pem" "$work/input" | b64url; }

signature() { # alg key
  case $1 in
    ES256) ecdsa "$2" sha256 64 ;;
    ES384) ecdsa "$2" sha384 96 ;;
    RS*) rsa_pkcs1 "$2" "sha${1#RS}" ;;
    PS*) rsa_pss "$2" "sha${1#PS}" ;;
    EdDSA) openssl pkeyutl -sign -rawin -inkey "keys/$2.pem" -in "$work/input" | b64url ;;
    # The classic confusion: a MAC whose key is the public key's text.
    HS256) openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(openssl pkey -in "keys/$2.pem" -pubout | xxd -p | tr -d '\n')" -binary "$work/input" | b64url ;;
    none) ;;
    *) echo "make.sh: no algorithm $1" >&2; exit 1 ;;
  esac
}

ec_jwk() { # kid curve hex-width
  local point; point=$(openssl pkey -in "keys/$1.pem" -pubout -outform DER | xxd -p | tr -d '\n' | tail -c $((2 * $3)))
  printf '{"kty":"EC","crv":"%s","x":"%s","y":"%s","kid":"%s"}' "$2" "$(printf %s "${point:0:$3}" | hex64)" "$(printf %s "${point:$3}" | hex64)" "$1"
}
keys() {
  local modulus; modulus=$(openssl rsa -in keys/rsa.pem -noout -modulus | cut -d= -f2)
  printf '[%s,%s,' "$(ec_jwk p256 P-256 64)" "$(ec_jwk p384 P-384 96)"
  printf '{"kty":"RSA","n":"%s","e":"AQAB","kid":"rsa"},' "$(printf %s "$modulus" | hex64)"
  printf '{"kty":"OKP","crv":"Ed25519","x":"%s","kid":"ed25519"}]' "$(openssl pkey -in keys/ed25519.pem -pubout -outform DER | tail -c 32 | b64url)"
}

# One statement a line: name, algorithm, key, header, payload, the last two as base64 so that no shell reads them.
jq -r '.statements[] | [.name, .alg, .key, (.header | @base64), (.payload | @base64)] | @tsv' plan.json |
  while IFS=$'\t' read -r name alg key header payload; do
    printf '%s.%s' "$(tr '+/' '-_' <<<"$header" | tr -d '=\n')" "$(tr '+/' '-_' <<<"$payload" | tr -d '=\n')" >"$work/input"
    jq -n --arg name "$name" --arg compact "$(cat "$work/input").$(signature "$alg" "$key")" '{($name): $compact}'
  done | jq -s add >"$work/statements"
jq -n --indent 1 --arg signer "$(openssl version | cut -d' ' -f1,2) command line" --argjson keys "$(keys)" --slurpfile plan plan.json \
  --slurpfile statements "$work/statements" '{signer: $signer, at: $plan[0].at, jwks: {keys: $keys}, statements: $statements[0]}'
