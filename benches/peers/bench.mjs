// How long oidc-provider takes to find a client whose metadata document it has cached: `node bench.mjs ID DOCUMENT`.
// Prints one line of JSON. Run by `cargo bench --bench service`, beside our own decision about the same client.
import { createRequire } from 'node:module';

// Node before 22 lacks it.
URL.parse ??= (text, base) => {
  try {
    return new URL(text, base);
  } catch {
    return null;
  }
};

const [id, document] = process.argv.slice(2);
const { Provider } = await import('oidc-provider');
const { version } = createRequire(import.meta.url)('oidc-provider/package.json');

let fetches = 0;
const provider = new Provider('https://server.example', {
  async fetch() {
    fetches += 1;
    return new Response(document, { headers: { 'content-type': 'application/json', 'cache-control': 'max-age=300' } });
  },
  features: {
    devInteractions: { enabled: false },
    clientIdMetadataDocument: { enabled: true, ack: 'draft-02' },
  },
});

const client = await provider.Client.find(id);
if (client?.clientId !== id) throw new Error('the client was not found');

async function rate(seconds) {
  const start = process.hrtime.bigint();
  const end = start + BigInt(seconds * 1e9);
  let rounds = 0;
  while (process.hrtime.bigint() < end) {
    for (let i = 0; i < 50; i += 1) await provider.Client.find(id);
    rounds += 50;
  }
  return Number(process.hrtime.bigint() - start) / rounds;
}

await rate(1); // lets the compiler settle
const ns = await rate(2);
if (fetches !== 1) throw new Error(`the document was fetched ${fetches} times: this was not warm`);
console.log(JSON.stringify({ peer: `oidc-provider ${version}`, node: process.version, ns_per_find: Math.round(ns) }));
