// A real OpenID provider on a loopback port, for tests. Reads one line of JSON from its standard input:
//   {issuer, port, clients: [...], jwks: {keys: [...]}, session_seconds, brief: {login: seconds}}
// prints "ready" when it listens and ends when its standard input does. Each further line is how many seconds its clock is
// ahead of the machine's from then on; "ahead <seconds>" is the answer. Nothing here is fit for anything but tests.
import { createInterface } from 'node:readline';
import { once } from 'node:events';

import { Provider } from 'oidc-provider';

const lines = createInterface({ input: process.stdin });
const [line] = await once(lines, 'line');
const given = JSON.parse(line);
lines.on('close', () => process.exit(0));

const machine = Date.now;
let ahead = 0;
Date.now = () => machine() + ahead * 1000;
lines.on('line', (seconds) => {
  ahead = Number(seconds);
  console.log(`ahead ${seconds}`);
});

// A login may ask for claims: "carol?session_expiry=1800003600" gets that one in the ID token.
function account(ctx, id) {
  const [, query = ''] = id.split('?');
  const claims = Object.fromEntries([...new URLSearchParams(query)].map(([key, value]) => [key, Number(value)]));
  return { accountId: id, claims: () => ({ sub: id, email: 'somebody@example.org', ...claims }) };
}

const provider = new Provider(given.issuer, {
  clients: given.clients,
  jwks: given.jwks,
  findAccount: account,
  claims: { openid: ['sub', 'session_expiry'], email: ['email'] },
  scopes: ['openid', 'email', 'offline_access'],
  cookies: { keys: ['a key of a test'] },
  clockTolerance: 0, // so that what is over is over
  conformIdTokenClaims: false,
  rotateRefreshToken: true, // each use gives a new one, and using an old one again revokes the family
  features: {
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    revocation: { enabled: true },
  },
  ttl: {
    AccessToken: 90,
    AuthorizationCode: 60,
    Grant: 86400,
    IdToken: 600,
    Interaction: 600,
    RefreshToken: 86400,
    // A rolling window: every visit of the browser to the provider begins it anew.
    Session: (ctx, session) => given.brief[session.accountId] ?? given.session_seconds,
  },
  // Its guard against requests to private addresses refuses loopback, where the applications under test listen.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
});

// What a test needs to know of deliveries: one line each.
provider.on('backchannel.success', (ctx, client) => console.log(`delivered ${client.clientId}`));
provider.on('backchannel.error', (ctx, error, client) => console.log(`refused ${client.clientId} ${error.message}`));
provider.on('server_error', (ctx, error) => console.log(`error ${error.stack.replaceAll('\n', ' | ')}`));

const server = provider.listen(given.port, '127.0.0.1');
await once(server, 'listening');
console.log('ready');
