/**
 * Books a tour and shows what was booked; `<octo-payment>` takes the money in between, and says when.
 *
 * Nothing to read is here: the server wrote the page, and says the rest, in the visitor's language.
 *
 * @typedef {{reference: string, tour: string, people: number, day: string, total: string, refunded: string,
 *            arrival: string, due: string, pill: string, status: "PENDING"|"CONFIRMED"|"CANCELLED", statusText: string, payment: ?string}} Booking
 */

const SECTIONS = {PENDING: "pay", CONFIRMED: "confirmed", CANCELLED: "cancelled"};

/** Says what went wrong in words for the visitor. */
class ShopError extends Error {}

/**
 * Call the server as this visitor; throws a ShopError with the server's own message.
 *
 * @param {string} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>}
 */
async function call(method, path, body) {
  const token = find("[name=csrfmiddlewaretoken]").value;
  const headers = {"Content-Type": "application/json", "X-CSRFToken": token};
  const response = await fetch(path, {method, headers, body: body && JSON.stringify(body)}).catch(() => {
    throw new ShopError(document.body.dataset.unreachable);
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ShopError(answer.errorMessage || document.body.dataset.failed);
  return answer;
}

// What the visitor does.

/** @param {HTMLFormElement} form */
async function book(form) {
  const {tour, date, people} = Object.fromEntries(new FormData(form));
  const booking = await call("POST", "/bookings", {tour, date, people});
  await go(`/?booking=${booking.reference}`);
}

/** Say what the terms give before anything is done. */
async function offerRefund() {
  const dialog = find("#cancellation");
  fill(dialog, await call("POST", `/bookings/${find("#confirmed").dataset.reference}/refund?preview`));
  dialog.showModal();
}

async function share() {
  const {link} = await call("POST", `/bookings/${find("#confirmed").dataset.reference}/link`);
  Object.assign(find("#link"), {href: link, textContent: link, hidden: false});
}

async function refund() {
  await call("POST", `/bookings/${find("#confirmed").dataset.reference}/refund`, {});
  find("#cancellation").close();
  await route();
}

/** Only now, since the element begins a payment as soon as it knows what for. */
function payRest() {
  find("#rest octo-payment").payable = `booking:${find("#confirmed").dataset.reference}`;
  offerRest(false);
}

/** @param {boolean} offered - or begun */
function offerRest(offered) {
  find("#pay-rest").hidden = !offered;
  find("#rest octo-payment").hidden = offered;
}

/** @param {HTMLButtonElement} button */
async function copy(button) {
  const {number = "", copied = "", refused = ""} = button.dataset;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(number.replaceAll(" ", ""));
    button.textContent = copied;
    find("#status").textContent = `${copied}: ${number}`;
  } catch {
    find("#status").textContent = refused;
  }
  setTimeout(() => { button.textContent = label; }, 1500);
}

// Where the visitor is: at the booking that the address names, or else at the tours.

/** @param {string} address */
async function go(address) {
  history.pushState(null, "", address);
  await route();
}

async function route() {
  const reference = new URLSearchParams(location.search).get("booking");
  /** @type {{bookings: Booking[]}} */
  const {bookings} = await call("GET", "/bookings");
  listBookings(bookings);
  const booking = bookings.find((one) => one.reference === reference);
  /** @type {import("octo-payment").OctoPayment} */
  const payment = find("#pay octo-payment");
  if (booking?.status === "PENDING") payment.payable = `booking:${booking.reference}`;
  else payment.removeAttribute("payable");
  find("#rest octo-payment").removeAttribute("payable");
  find("#rest").hidden = !booking?.due;
  find("#link").hidden = true;
  offerRest(true);
  show(booking ? SECTIONS[booking.status] : "choose", booking);
}

// What the visitor sees.

/** @param {string} selector @param {ParentNode} within @returns {any} */
function find(selector, within = document) {
  return within.querySelector(selector);
}

/** @param {string} selector @param {ParentNode} within @returns {HTMLElement[]} */
function findAll(selector, within = document) {
  return [...within.querySelectorAll(selector)].map((node) => /** @type {HTMLElement} */ (node));
}

/** @param {string} id @param {Booking} [booking] */
function show(id, booking) {
  const section = find(`#${id}`);
  const arrived = section.hidden;
  for (const one of findAll("main > section")) one.hidden = one !== section;
  document.title = `${section.dataset.title} · Harbour & Hill Tours`;
  find("#page-error").textContent = "";
  if (booking) fill(section, booking);
  section.dataset.reference = booking?.reference ?? "";
  if (arrived) find("h1", section).focus();
}

/**
 * Write a booking into the fields that name its parts; a row of the summary without a value is left out.
 *
 * @param {ParentNode} place
 * @param {Record<string, any>} booking
 */
function fill(place, booking) {
  for (const field of findAll("[data-field]", place)) {
    const value = booking[field.dataset.field ?? ""];
    field.textContent = value;
    const row = field.closest("dl > div");
    if (row) row.toggleAttribute("hidden", !value);
  }
}

/** @param {Booking[]} bookings */
function listBookings(bookings) {
  const items = bookings.map((booking) => {
    const item = find("#booking").content.cloneNode(true);
    fill(item, {...booking, details: `${booking.total} · ${booking.reference}`});
    find("a", item).href = `/?booking=${booking.reference}`;
    find(".tag", item).classList.add(booking.status.toLowerCase());
    return item;
  });
  find("#bookings").replaceChildren(...items);
  find("#bookings").removeAttribute("aria-busy");
  find("#no-bookings").hidden = bookings.length > 0;
}

function showTotal() {
  const {amount, currency, precision} = find("[name=tour]:checked").dataset;
  const total = (amount * find("#people").value) / 10 ** precision;
  const format = new Intl.NumberFormat(document.documentElement.lang, {
    style: "currency",
    currency,
    minimumFractionDigits: precision,
    maximumFractionDigits: precision,
  });
  find("#total").textContent = format.format(total);
}

/**
 * Do some work with its button disabled, and say what went wrong, once.
 *
 * @param {() => Promise<void>} work
 * @param {HTMLElement} error
 * @param {HTMLButtonElement} [button]
 */
async function perform(work, error, button) {
  error.textContent = "";
  button?.setAttribute("aria-busy", "true");
  if (button) button.disabled = true;
  try {
    await work();
  } catch (problem) {
    error.textContent = /** @type {Error} */ (problem).message;
    error.focus();
    if (!(problem instanceof ShopError)) throw problem;
  } finally {
    button?.removeAttribute("aria-busy");
    if (button) button.disabled = false;
  }
}

/** @param {string} selector @param {(form: HTMLFormElement) => Promise<void>} work */
function handle(selector, work) {
  /** @type {HTMLFormElement} */
  const form = find(selector);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const button = find("[type=submit]", form);
    if (!button.disabled) perform(() => work(form), find(".error", form), button);
  });
}

/** @param {MouseEvent} event */
function follow(event) {
  const link = /** @type {Element} */ (event.target).closest("a[href^='/']");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  navigate(() => go(link.getAttribute("href") ?? "/"));
}

/** @param {() => Promise<void>} work */
function navigate(work) {
  perform(work, find("#page-error"));
}

function start() {
  handle("#booking-form", book);
  handle("#refund-form", refund);
  find("#booking-form").addEventListener("input", showTotal);
  find("#pay-rest").addEventListener("click", payRest);
  find("#share").addEventListener("click", () => navigate(share));
  find("#cancel").addEventListener("click", () => navigate(offerRefund));
  find("#keep").addEventListener("click", () => find("#cancellation").close());
  for (const button of findAll(".copy")) {
    button.addEventListener("click", () => copy(/** @type {HTMLButtonElement} */ (button)));
  }
  document.addEventListener("click", follow);
  for (const outcome of ["paid", "failed", "expired"]) {
    document.addEventListener(`octo-payment-${outcome}`, () => navigate(route));
  }
  addEventListener("popstate", () => navigate(route));
  for (const waiting of findAll(".waiting")) waiting.removeAttribute("disabled");
  navigate(route);
}

start();
