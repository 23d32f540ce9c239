#!/usr/bin/env bash
# @octocloud/types 2.0.4: its zod and yup schemas disagree about the same body.
#
# The package ships both for OCTO. An empty e-mail address of a contact is invalid for zod and valid for yup; a
# reservation without `availabilityId` is valid for zod and invalid for yup. Which one a reseller runs decides what a
# supplier may send.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null && npm install --silent --no-audit --no-fund @octocloud/types@2.0.4 yup@0.32.11 >/dev/null
seen=$(node --input-type=module - <<'JS'
import { bookingContactSchema, createBookingBodySchema, zBookingContact, zBookingReservationBody } from "@octocloud/types";

const yup = (schema, value) => schema.isValidSync(value);
const zod = (schema, value) => schema.safeParse(value).success;
const contact = {
  fullName: null, firstName: null, lastName: null, emailAddress: "", phoneNumber: null, locales: [],
  country: null, notes: null, postalCode: null,
};
const body = { productId: "p", optionId: "o", unitItems: [{ unitId: "adult" }] };
console.log("empty e-mail address: zod", zod(zBookingContact, contact), "yup", yup(bookingContactSchema, contact));
console.log("no availabilityId: zod", zod(zBookingReservationBody, body), "yup", yup(createBookingBodySchema, body));
JS
)
expected=$(cat <<'SEEN'
empty e-mail address: zod false yup true
no availabilityId: zod true yup false
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
