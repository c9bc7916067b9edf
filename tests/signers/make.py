"""Signs every statement of plan.json with Python `jwcrypto` and writes a fixture to standard output."""

import importlib.metadata
import json
import pathlib
import platform

from jwcrypto import jwk, jws

HERE = pathlib.Path(__file__).parent
ALGORITHMS = ["ES256", "ES384", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512", "EdDSA"]


def key(name):
    return jwk.JWK.from_pem((HERE / "keys" / f"{name}.pem").read_bytes())


def public(name):
    members = json.loads(key(name).export_public())
    members["kid"] = name
    return members


def sign(entry):
    token = jws.JWS(entry["payload"].encode())
    token.allowed_algs = ALGORITHMS
    token.add_signature(key(entry["key"]), alg=None, protected=entry["header"])
    return token.serialize(compact=True)


plan = json.loads((HERE / "plan.json").read_text())
fixture = {
    "signer": f"Python {platform.python_version()}, jwcrypto {importlib.metadata.version('jwcrypto')}",
    "at": plan["at"],
    "jwks": {"keys": [public(name) for name in ["p256", "p384", "rsa", "ed25519"]]},
    "statements": {entry["name"]: sign(entry) for entry in plan["statements"] if entry["by"] == "all"},
}
print(json.dumps(fixture, indent=1))
