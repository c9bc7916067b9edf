// Signs the chains of chains.json with node `jose` and writes a fixture to standard output. Each statement changes the default of a
// root or a child; `parent` names the statement that it carries, `parent_text` is carried as it is; `keys` go into it as `jwks`.
import { readFileSync } from "node:fs";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { CompactSign, exportJWK } from "jose";

const here = (name) => new URL(name, import.meta.url);
const pem = (name) => readFileSync(here(`keys/${name}.pem`));
const version = JSON.parse(readFileSync(here("node_modules/jose/package.json"))).version;
const plan = JSON.parse(readFileSync(here("chains.json")));
const algorithms = { p256: "ES256", p384: "ES384", rsa: "PS256", ed25519: "EdDSA", stranger: "ES256" };

const jwk = async (kid) => ({ ...(await exportJWK(createPublicKey(pem(kid)))), kid });
const set = async (kids) => ({ keys: await Promise.all(kids.map(jwk)) });
const made = {};
for (const { name, parent, parent_text, key, kid = key, keys, header, claims } of plan.statements) {
  const above = parent && made[parent];
  if (parent && !above) throw new Error(`${name}: ${parent} is not made yet`);
  const payload = { ...plan[above ? "child" : "root"], jti: name };
  if (above) Object.assign(payload, { iss: above.payload.sub, parent: above.jws });
  if (parent_text !== undefined) payload.parent = parent_text;
  if (keys) payload.jwks = await set(keys);
  for (const [claim, value] of Object.entries(claims ?? {})) {
    if (value === null) delete payload[claim];
    else payload[claim] = value;
  }
  const head = { alg: algorithms[key], kid, typ: "software-statement+jwt", ...header };
  if (kid === null) delete head.kid;
  const sign = new CompactSign(new TextEncoder().encode(JSON.stringify(payload))).setProtectedHeader(head);
  made[name] = { payload, jws: await sign.sign(createPrivateKey(pem(key))) };
}
const statements = Object.fromEntries(Object.entries(made).map(([name, { jws }]) => [name, jws]));
const jwks = await set(["p256", "p384", "rsa", "ed25519"]);
console.log(JSON.stringify({ signer: `node ${process.version}, jose ${version}`, at: plan.at, jwks, statements }, null, 1));
