// The real, certified OpenID provider (npm oidc-provider) as the tests drive it. Its configuration is one JSON
// document in the environment variable OP_CONFIG:
//   port, clients (a backchannel_logout_uri is called on loopback only), users {login: {claims, acr, amr}}, acr_values, ignore_acr, conform_id_token_claims, ttl
// Any password signs in. Prints "READY <port>" when it listens, and ends when its standard input closes.
import { generateKeyPairSync } from 'node:crypto';
import { createServer, request as httpRequest } from 'node:http';

import Provider, { interactionPolicy } from 'oidc-provider';

const config = JSON.parse(process.env.OP_CONFIG);
const users = config.users;

const server = createServer();
await new Promise((resolve) => server.listen(config.port ?? 0, '127.0.0.1', resolve));
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;

const key = (id, type, options) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), kid: id, use: 'sig',
});

const { base, Check } = interactionPolicy;
const policy = base();
if (!config.ignore_acr) {
  // The library checks only essential acr claims; like most products we honour acr_values too.
  policy.get('login').checks.add(new Check('acr_values_not_met', 'a stronger sign-in is asked for', (ctx) => {
    const wanted = ctx.oidc.params.acr_values?.split(' ') ?? [];
    const has = ctx.oidc.session.acr;
    return wanted.length > 0 && !wanted.includes(has) ? Check.REQUEST_PROMPT : Check.NO_NEED_TO_PROMPT;
  }));
}

// Names below .localhost are this machine, whatever the resolver thinks; nothing else is ever called.
function fetchOnLoopback(url, options) {
  const { hostname } = new URL(url);
  if (hostname !== '127.0.0.1' && !hostname.endsWith('.localhost')) return Promise.reject(new Error(`not called: ${url}`));
  const lookup = (_host, asked, done) => (asked.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4));
  return new Promise((resolve, reject) => {
    const headers = Object.fromEntries(new Headers(options.headers));
    const sent = httpRequest(url, { method: options.method, headers, lookup }, (response) => {
      response.resume();
      const answer = () => resolve(new Response(null, { status: response.statusCode }));
      // A provider ends its own session when all parties have been told, some of whom are slower than we.
      response.on('end', () => setTimeout(answer, 300));
    });
    sent.on('error', reject);
    sent.end(options.body === undefined ? undefined : String(options.body));
  });
}

const everyClaim = [...new Set(Object.values(users).flatMap((user) => Object.keys(user.claims ?? {})))];

const provider = new Provider(issuer, {
  clients: config.clients,
  jwks: { keys: [key('rsa-1', 'rsa', { modulusLength: 2048 }), key('ec-1', 'ec', { namedCurve: 'P-256' })] },
  cookies: { keys: ['loopback-only'] },
  claims: {
    openid: ['sub', 'acr', 'amr', 'auth_time', 'sid', ...everyClaim.filter((name) => !['email', 'email_verified', 'name'].includes(name))],
    profile: ['name'],
    email: ['email', 'email_verified'],
  },
  conformIdTokenClaims: config.conform_id_token_claims ?? false,
  acrValues: config.acr_values ?? [],
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: true },
    claimsParameter: { enabled: true },
    backchannelLogout: { enabled: true },
  },
  fetch: fetchOnLoopback,
  interactions: { policy, url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  ttl: { AccessToken: 600, AuthorizationCode: 60, IdToken: 600, Interaction: 600, Session: 3600, Grant: 3600, ...config.ttl },
  scopes: ['openid', 'profile', 'email', 'offline_access'],
  findAccount: (_ctx, id) => (users[id] ? { accountId: id, claims: () => ({ sub: id, ...users[id].claims }) } : undefined),
  // Whoever signs in has consented.
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid profile email offline_access');
    grant.addOIDCClaims(everyClaim);
    await grant.save();
    return grant;
  },
  renderError(ctx, out) {
    ctx.type = 'text/plain';
    ctx.body = `OP error: ${out.error} ${out.error_description ?? ''}`;
  },
});
provider.on('backchannel.error', (_ctx, error) => { process.stderr.write(`backchannel: ${error.stack}\n`); });
provider.on('server_error', (_ctx, error) => { process.stderr.write(`${error.stack}\n`); });

const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

async function formBody(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > 65536) throw new Error('body too large');
  }
  return new URLSearchParams(text);
}

async function interaction(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    const buttons = Object.keys(users).map((login) => `<button name="login" value="${escaped(login)}">${escaped(login)}</button>`);
    response.end(`<!doctype html><html lang="en"><title>Test sign-in</title><h1>Sign in: ${escaped(details.prompt.name)}</h1>
<form method="post"><label>Login <input name="typed"></label><label>Password <input type="password" name="password"></label>
<button name="login" value="">Sign in</button>${buttons.join(' ')}<button name="abort" value="yes">Cancel</button></form></html>`);
    return;
  }
  const form = await formBody(request);
  const login = form.get('login') || form.get('typed');
  const user = users[login];
  const wanted = String(details.params.acr_values ?? '').split(' ').filter(Boolean);
  const result = form.get('abort') || !user
    ? { error: 'access_denied', error_description: user ? 'the person cancelled' : 'nobody of that name' }
    : { login: {
      accountId: login,
      acr: config.ignore_acr ? user.acr : (wanted.find((value) => (user.acrs ?? []).includes(value)) ?? user.acr),
      amr: user.amr,
      remember: true,
    } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

const callback = provider.callback();
server.on('request', (request, response) => {
  if (!request.url.startsWith('/interaction/')) return callback(request, response);
  return interaction(request, response).catch((error) => {
    response.statusCode = 400;
    response.end(`OP error: ${error.message}`);
  });
});

process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
process.stdout.write(`READY ${port}\n`);
