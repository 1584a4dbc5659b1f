// The AWS SDK for JavaScript v3, unmodified: reads requests as JSON lines, writes answers as JSON lines.
// The argument is the directory whose node_modules holds it. Endpoint and region come from the environment.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
const services = {
  iam: [require("@aws-sdk/client-iam"), "IAMClient"],
  sts: [require("@aws-sdk/client-sts"), "STSClient"],
  secretsmanager: [require("@aws-sdk/client-secrets-manager"), "SecretsManagerClient"],
  cloudtrail: [require("@aws-sdk/client-cloudtrail"), "CloudTrailClient"],
};
const clients = new Map();

function client(service, accessKeyId, secretAccessKey) {
  const place = `${service} ${accessKeyId}`;
  if (!clients.has(place)) {
    const [sdk, name] = services[service];
    clients.set(place, new sdk[name]({ credentials: { accessKeyId, secretAccessKey } }));
  }
  return clients.get(place);
}

async function answer({ service, operation, parameters, access_key_id, secret }) {
  const command = new services[service][0][`${operation}Command`](parameters);
  try {
    const { $metadata, ...members } = await client(service, access_key_id, secret).send(command);
    return { answer: members };
  } catch (error) {
    if (!error.$metadata) throw error;
    return { error: { code: error.Code ?? error.name, message: error.message } };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
for (const each of clients.values()) each.destroy();
