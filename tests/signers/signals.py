"""Signs security event tokens with Python `jwcrypto` and writes a fixture to standard output. `iat` lies well in the past, so that a
program with a real clock takes them too."""

import importlib.metadata
import json
import pathlib
import platform

from jwcrypto import jwk, jws

HERE = pathlib.Path(__file__).parent
ISSUER = "https://signals.example"
AUDIENCE = "https://verifier.example"
CLIENT = "https://client.example/oauth/client.json"
IAT = 1_700_000_000
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
ALGORITHMS = {"p256": "ES256", "rsa": "RS256", "ed25519": "EdDSA"}


def key(name):
    return jwk.JWK.from_pem((HERE / "keys" / f"{name}.pem").read_bytes())


def public(name):
    members = json.loads(key(name).export_public())
    members["kid"] = name
    return members


def sign(name, claims, header=None):
    header = {"alg": ALGORITHMS[name], "kid": name, "typ": "secevent+jwt"} | (header or {})
    token = jws.JWS(json.dumps(claims).encode())
    token.allowed_algs = list(ALGORITHMS.values())
    token.add_signature(key(name), alg=None, protected=json.dumps(header))
    return token.serialize(compact=True)


def claims(jti, event, payload, offset=0, subject=None):
    subject = subject or {"format": "uri", "uri": CLIENT}
    return {
        "iss": ISSUER, "aud": AUDIENCE, "jti": jti, "iat": IAT + offset, "txn": "8675309",
        "sub_id": subject, "events": {event: payload},
    }


compromised = {"credential_type": "x509", "event_timestamp": IAT, "reason_admin": {"en": "laptop stolen"}}
aliases = {"format": "aliases", "identifiers": [{"format": "email", "email": "a@client.example"}, {"format": "opaque", "id": CLIENT}]}
sets = {
    "disabled": sign("p256", claims("py-1", RISC + "account-disabled", {"reason": "hijacking"})),
    "enabled": sign("ed25519", claims("py-2", RISC + "account-enabled", {}, 10)),
    "compromise": sign("rsa", claims("py-3", RISC + "credential-compromise", compromised, 20)),
    "aliases": sign("p256", claims("py-4", CAEP + "session-revoked", {"event_timestamp": IAT}, 30, aliases)),
    "verification": sign("p256", claims("py-5", SSF + "verification", {"state": "VGhpcyBpcw=="}, 40, {"format": "opaque", "id": "s1"})),
    "no-typ": sign("p256", claims("py-6", RISC + "account-disabled", {}), {"typ": "JWT"}),
    "other-kid": sign("p256", claims("py-7", RISC + "account-disabled", {}), {"kid": "ed25519"}),
}
fixture = {
    "signer": f"Python {platform.python_version()}, jwcrypto {importlib.metadata.version('jwcrypto')}",
    "jwks": {"keys": [public(name) for name in ALGORITHMS]},
    "sets": sets,
}
print(json.dumps(fixture, indent=1))
