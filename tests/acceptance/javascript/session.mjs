// The AWS SDK for JavaScript v3, unmodified, on credentials that the environment names: reads calls as JSON lines,
// writes answers as JSON lines. When the SDK asks for a second factor's code, the line {"mfa": serial} asks for it.
// The argument is the directory whose node_modules holds the SDK.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
const { fromIni } = require("@aws-sdk/credential-provider-ini");
const iam = require("@aws-sdk/client-iam");
const sts = require("@aws-sdk/client-sts");

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const write = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

async function mfaCodeProvider(serial) {
  write({ mfa: serial });
  return (await lines.next()).value;
}

const first = new iam.IAMClient(process.env.AWS_PROFILE ? { credentials: fromIni({ mfaCodeProvider }) } : {});
const second = new sts.STSClient({ credentials: first.config.credentials });
const services = { iam: [iam, first], sts: [sts, second] };

async function answer({ service, operation, parameters }) {
  const [sdk, client] = services[service];
  try {
    const { $metadata, ...members } = await client.send(new sdk[`${operation}Command`](parameters));
    return { answer: members };
  } catch (error) {
    if (!error.$metadata) throw error;
    return { error: { code: error.Code ?? error.name, message: error.message } };
  }
}

for (let line = await lines.next(); !line.done; line = await lines.next()) {
  write(await answer(JSON.parse(line.value)));
}
first.destroy();
second.destroy();
