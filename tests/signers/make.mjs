// Signs every statement of plan.json with node `jose` and writes a fixture to standard output.
import { readFileSync } from "node:fs";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { CompactSign, exportJWK } from "jose";

const here = (name) => new URL(name, import.meta.url);
const pem = (name) => readFileSync(here(`keys/${name}.pem`));
const version = JSON.parse(readFileSync(here("node_modules/jose/package.json"))).version;
const plan = JSON.parse(readFileSync(here("plan.json")));

const keys = [];
for (const kid of ["p256", "p384", "rsa", "ed25519"]) {
  keys.push({ ...(await exportJWK(createPublicKey(pem(kid)))), kid });
}
const statements = {};
for (const { name, by, key, header, payload } of plan.statements) {
  if (by !== "all") continue;
  const sign = new CompactSign(new TextEncoder().encode(payload)).setProtectedHeader(JSON.parse(header));
  statements[name] = await sign.sign(createPrivateKey(pem(key)));
}
console.log(JSON.stringify({ signer: `node ${process.version}, jose ${version}`, at: plan.at, jwks: { keys }, statements }, null, 1));
