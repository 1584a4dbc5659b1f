// Reads lines of JSON from standard input, a list of simulations each; answers each with a line, the list of verdicts:
// Allowed, ImplicitlyDenied, ExplicitlyDenied, or what is wrong with the simulation.
// The first argument is the directory whose node_modules holds @cloud-copilot/iam-simulate.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
const { runSimulation } = require("@cloud-copilot/iam-simulate");
for await (const line of createInterface({ input: process.stdin })) {
  const verdicts = [];
  for (const simulation of JSON.parse(line)) {
    const result = await runSimulation(simulation, { simulationMode: "Strict" });
    verdicts.push(result.overallResult ?? JSON.stringify(result.errors));
  }
  process.stdout.write(`${JSON.stringify(verdicts)}\n`);
}
