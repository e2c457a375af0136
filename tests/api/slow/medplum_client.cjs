// The address of our services and of a FHIR server, and a hook's context, in; what a record system that runs Medplum
// gets out, as JSON: it discovers the services, fetches the prefetch that they ask for, and calls one.

globalThis.WebSocket ??= class extends EventTarget {}; // Node 20 has none, and no subscription is opened here

const { createRequire } = require("node:module");
const { MedplumClient, buildCdsRequest } = createRequire(process.env.MEDPLUM + "/")("@medplum/core");

async function main() {
  const { services, fhir, service, context } = JSON.parse(process.argv[2]);
  const client = new MedplumClient({ baseUrl: fhir, cdsServicesUrl: services, fetch, storage: undefined, cacheTime: 0 });
  const discovered = await client.getCdsServices();
  const wanted = discovered.services.find((one) => one.id === service);
  const request = await buildCdsRequest(client, { resourceType: "Practitioner", id: "d1" }, wanted, context);
  const response = await client.callCdsService(wanted.id, request);
  process.stdout.write(JSON.stringify({ discovered, request, response }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
