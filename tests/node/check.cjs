// Reads [{schema, value}] from the standard input, and prints what OCTO's own schemas have against each value.

const types1 = require("octo-types-1");
const order = require("octo-types-1/dist/schemas/Order");
const booking = require("octo-types-1/dist/schemas/Booking");
const types2 = require("octo-types-2");
const {z} = require("zod/v3");

// OCTO's own list of capabilities lacks the card payments that its card-payment types are for.
const capabilityId = z.enum([...types2.zCapabilityId.options, types1.CapabilityId.CardPayments]);
const own = {
  capability: types2.zCapability.extend({id: capabilityId, dependencies: z.array(capabilityId)}),
};

async function check({schema, value}) {
  const zod = own[schema] ?? types2[schema];
  if (zod) return zod.safeParse(value).error?.message ?? null;
  const yup = {...order, ...booking}[schema];
  return yup.validate(value, {strict: true}).then(() => null, (error) => error.message);
}

async function main() {
  const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
  console.log(JSON.stringify(await Promise.all(cases.map(check))));
}

main();
