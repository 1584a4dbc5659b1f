// One request signed by the AWS SDK for JavaScript's own signer: a JSON line on stdin, the answer on stdout.
// The argument is the directory whose node_modules holds the SDK.
import { createHash, createHmac } from "node:crypto";
import { request } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { SignatureV4 } = createRequire(pathToFileURL(`${process.argv[2]}/`))("@smithy/signature-v4");

class Sha256 {
  constructor(secret) {
    this.hash = secret ? createHmac("sha256", secret) : createHash("sha256");
  }
  update(data) {
    this.hash.update(data);
  }
  async digest() {
    return new Uint8Array(this.hash.digest());
  }
}

let text = "";
for await (const part of process.stdin) text += part;
const { url, method, body, service, region, credentials } = JSON.parse(text);
const { hostname, port, host, pathname, searchParams } = new URL(url);
const signer = new SignatureV4({ service, region, credentials, sha256: Sha256 });
const signed = await signer.sign({
  method,
  protocol: "http:",
  hostname,
  port: Number(port),
  path: pathname,
  query: Object.fromEntries(searchParams),
  headers: { host, "content-type": "application/json" },
  body,
});
const sent = request(url, { method, headers: signed.headers }, async (answer) => {
  let content = "";
  for await (const part of answer) content += part;
  process.stdout.write(JSON.stringify({ status: answer.statusCode, content }));
});
sent.end(body);
