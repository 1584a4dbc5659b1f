// Reads simulations as JSON from standard input, writes each verdict: Allowed, ImplicitlyDenied, ExplicitlyDenied.
// The first argument is the directory whose node_modules holds @cloud-copilot/iam-simulate.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
const { runSimulation } = require("@cloud-copilot/iam-simulate");
const verdicts = [];
for (const simulation of JSON.parse(readFileSync(0, "utf8"))) {
  const result = await runSimulation(simulation, { simulationMode: "Strict" });
  verdicts.push(result.overallResult ?? JSON.stringify(result.errors));
}
process.stdout.write(JSON.stringify(verdicts));
