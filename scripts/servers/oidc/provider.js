// An oidc-provider for tests: everybody is logged in at once, and its keys change when it is told to.
// node provider.js FOLDER SETTINGS, where FOLDER has node_modules and SETTINGS is a JSON file:
// {port, clients, resources: {indicator: what getResourceServerInfo returns}, mtls: {port, key, cert}}

import { generateKeyPairSync, randomUUID, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , folder, file] = process.argv;
const { port, clients, resources, mtls } = JSON.parse(readFileSync(file, "utf8"));
const entry = createRequire(`${folder}/`).resolve("oidc-provider");
const { default: Provider, errors } = await import(pathToFileURL(entry));
const issuer = `http://127.0.0.1:${port}`;

function makeKey() {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), alg: "ES256", use: "sig" };
}

// Tokens live in the package's own memory, which outlives this one: only the keys are others.
function provide(keys) {
  const provider = new Provider(issuer, {
    clients,
    jwks: { keys },
    clientDefaults: {
      id_token_signed_response_alg: "ES256",
      introspection_signed_response_alg: "ES256",
    },
    enabledJWA: {
      clientAuthSigningAlgValues: ["ES256"],
      idTokenSigningAlgValues: ["ES256"],
      introspectionSigningAlgValues: ["ES256"],
    },
    clientAuthMethods: [
      ...["client_secret_basic", "client_secret_post", "private_key_jwt"],
      ...(mtls ? ["self_signed_tls_client_auth"] : []),
    ],
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    cookies: { keys: ["of no account"] },
    ttl: { Session: 600, Interaction: 600, Grant: 600, IdToken: 600 },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      jwtIntrospection: { enabled: true },
      revocation: { enabled: true },
      mTLS: {
        enabled: Boolean(mtls),
        selfSignedTlsClientAuth: true,
        getCertificate: (ctx) => {
          const shown = ctx.socket.getPeerCertificate?.().raw;
          return shown && new X509Certificate(shown);
        },
      },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, indicator) => {
          if (!(indicator in resources)) throw new errors.InvalidTarget();
          return resources[indicator];
        },
      },
    },
  });
  return { provider, callback: provider.callback() };
}

// Whoever is named by `login_hint` is who logs in, and grants what is asked for.
async function agree(provider, request, response) {
  const { params } = await provider.interactionDetails(request, response);
  const grant = new provider.Grant({ accountId: params.login_hint, clientId: params.client_id });
  grant.addOIDCScope("openid");
  grant.addResourceScope(params.resource, params.scope);
  const result = {
    login: { accountId: params.login_hint },
    consent: { grantId: await grant.save() },
  };
  await provider.interactionFinished(request, response, result);
}

let keys = [makeKey()];
let current = provide(keys);

async function answer(request, response) {
  if (request.url.startsWith("/interaction/")) {
    await agree(current.provider, request, response);
  } else if (request.url === "/test/rotate" || request.url === "/test/replace") {
    keys = [makeKey(), ...(request.url === "/test/rotate" ? keys : [])];
    current = provide(keys);
    response.writeHead(204).end();
  } else {
    await current.callback(request, response);
  }
}

function failing(error, response) {
  console.error(error);
  response.writeHead(500).end();
}

const listener = (request, response) =>
  answer(request, response).catch((error) => failing(error, response));
createServer(listener).listen(port, "127.0.0.1");
if (mtls) {
  const asking = { requestCert: true, rejectUnauthorized: false };
  createTlsServer({ key: mtls.key, cert: mtls.cert, ...asking }, listener).listen(mtls.port, "127.0.0.1");
}
