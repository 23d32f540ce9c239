/**
 * Books a tour and pays for it: the shop's bookings, the payment API and Stripe.js, in this order.
 *
 * The API key is not here: the session's cookie and the CSRF token are what the page calls with. Nor is
 * the price: it comes from the booking, on the server.
 */

const BOOKINGS = "/bookings";
const PAYMENTS = "/bookings/payments";
const APPEARANCE = {
  variables: {
    colorPrimary: "#0b6b5d",
    colorText: "#1d2b2a",
    colorTextSecondary: "#55635f",
    colorDanger: "#b3261e",
    borderRadius: "10px",
  },
};
const STATUSES = {PENDING: "To be paid", CONFIRMED: "Confirmed", CANCELLED: "Cancelled"};
const UNSETTLED = "Your payment is on its way. This page changes as soon as the booking is confirmed.";
const UNAUTHENTICATED = "Your bank could not make sure that it was you. Try again, or use another card.";
const PAUSE = 1000;

/**
 * @typedef {{amount: number, currency: string, currencyPrecision: number}} Money
 * @typedef {{reference: string, tour: string, people: number, date: string, payment: ?string,
 *            status: "PENDING"|"CONFIRMED"|"CANCELLED", totalRefunded: number} & Money} Booking
 * @typedef {import("octo-stripe-gateway").components["schemas"]} Gateway
 * @typedef {Gateway["GatewayCreatedPayment"] & {cardPayment: Gateway["GatewayCardPayment"]}} Payment
 * @typedef {{booking: Booking, payment: ?Payment, stripe: any, elements: any}} Checkout
 */

/** @type {?Checkout} */
let checkout = null;

/** Says what went wrong in words for the visitor. */
class ShopError extends Error {}

// The shop and its payment API.

/**
 * Call the server as this visitor; throws a ShopError with the server's own message.
 *
 * @param {string} method
 * @param {string} path
 * @param {{body?: object, headers?: Record<string, string>}} options
 * @returns {Promise<any>}
 */
async function call(method, path, {body, headers = {}} = {}) {
  const token = find("[name=csrfmiddlewaretoken]").value;
  const request = {
    method,
    headers: {"Content-Type": "application/json", "X-CSRFToken": token, ...headers},
    body: body && JSON.stringify(body),
  };
  const response = await fetch(path, request).catch(() => {
    throw new ShopError("The shop can't be reached. Check your connection and try again.");
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const fallback = `The shop could not do that (${response.status}). Reload the page and try again.`;
    throw new ShopError(answer.errorMessage || fallback);
  }
  return answer;
}

/** @returns {Promise<Booking[]>} */
async function loadBookings() {
  const {bookings} = await call("GET", BOOKINGS);
  listBookings(bookings);
  return bookings;
}

/**
 * Create the booking's payment or, with the key seen before, get the same one again.
 *
 * @param {Booking} booking
 * @returns {Promise<Payment>}
 */
function requestPayment(booking) {
  /** @type {Gateway["GatewayCreatePayment"]} */
  const body = {payable: {type: "booking", id: booking.reference}};
  return call("POST", PAYMENTS, {
    body,
    headers: {"Idempotency-Key": booking.reference, "Octo-Capabilities": "octo/cardPayments"},
  });
}

/**
 * Have the server ask Stripe how the payment stands.
 *
 * @param {string} uuid
 * @returns {Promise<Gateway["GatewayPayment"]>}
 */
function completePayment(uuid) {
  return call("PATCH", `${PAYMENTS}/${uuid}/complete`);
}

// What the visitor does.

async function book(form) {
  const {tour, date, people} = Object.fromEntries(new FormData(form));
  const booking = await call("POST", BOOKINGS, {body: {tour, date, people}});
  location.hash = booking.reference;
}

/** Pay, or get ready to pay where that failed before. */
async function pay() {
  const {booking, payment, stripe, elements} = /** @type {Checkout} */ (checkout);
  if (!payment) {
    await prepare(checkout);
    return;
  }
  const {error} = await stripe.confirmPayment({
    elements,
    redirect: "if_required",
    confirmParams: {return_url: `${location.origin}/?payment=${payment.uuid}`},
  });
  if (error && ["card_error", "validation_error"].includes(error.type)) {
    throw new ShopError(getReason(error));
  }
  // After any other error the money may have moved all the same, and only the server can tell.
  const {status} = await completePayment(payment.uuid);
  if (error && status !== "CONFIRMED") throw new ShopError(getReason(error));
  await watch(booking, showUnsettled);
}

/** Return why a payment failed; Stripe's API words this one for developers. */
function getReason({code, message}) {
  return code === "payment_intent_authentication_failure" ? UNAUTHENTICATED : message;
}

async function refund(form) {
  const reference = currentReference();
  await call("POST", `${PAYMENTS}/${form.dataset.payment}/refund`, {body: {}});
  await watch({reference, status: "CONFIRMED"});
}

/** Wait until the booking has changed, which may be after the payment has, and show it. */
async function watch({reference, status}, meanwhile = () => {}) {
  while (currentReference() === reference) {
    const bookings = await loadBookings();
    if (bookings.find((one) => one.reference === reference)?.status !== status) {
      await route();
      return;
    }
    meanwhile();
    await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
  }
}

async function copy(button) {
  const number = button.dataset.number;
  try {
    await navigator.clipboard.writeText(number.replaceAll(" ", ""));
    button.textContent = "Copied";
    say(`Copied ${number}`);
  } catch {
    say("The browser does not allow copying. Select the number instead.");
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

// Where the visitor is: the booking that the address names, or else the tours.

function currentReference() {
  return location.hash.slice(1);
}

async function route() {
  leave();
  const reference = currentReference();
  const bookings = await loadBookings();
  if (reference !== currentReference()) return;
  const booking = bookings.find((one) => one.reference === reference);
  if (!booking) show("choose");
  else if (booking.status === "PENDING") await checkOut(booking);
  else showBooked(booking);
}

/** Finish what a payment method began that sent the visitor to another site. */
async function returnFromBank() {
  const uuid = new URLSearchParams(location.search).get("payment");
  if (!uuid) return route();
  // At once, since Stripe adds the client secret to the address.
  history.replaceState(null, "", "/");
  const {payable, failure} = await completePayment(uuid);
  history.replaceState(null, "", `/#${payable?.id ?? ""}`);
  await route();
  if (failure) find("#pay .error").textContent = getReason(failure);
}

async function checkOut(booking) {
  checkout = {booking, payment: null, stripe: null, elements: null};
  fillSummary(find("#pay .summary"), booking);
  show("pay");
  const current = checkout;
  await perform(find("#payment-form"), () => prepare(current));
}

async function prepare(current) {
  const button = find("#payment-form button");
  button.textContent = `Pay ${formatMoney(current.booking)}`;
  try {
    await mountForm(current);
  } catch (problem) {
    button.textContent = "Try again";
    // Refused because it has been paid, in another tab or at a bank that took its time?
    const bookings = await loadBookings();
    const {reference} = current.booking;
    if (bookings.find((one) => one.reference === reference)?.status === "PENDING") throw problem;
    await route();
  }
}

/** Get the payment and Stripe's form for it. */
async function mountForm(current) {
  const payment = await requestPayment(current.booking);
  if (checkout !== current) return;
  if (!["PENDING", "FAILED"].includes(payment.status)) {
    await watch(current.booking, showUnsettled);
    return;
  }
  const {Stripe} = /** @type {any} */ (window);
  if (!Stripe) throw new ShopError("Stripe's payment form could not be loaded. Reload the page.");
  const {publishableKey, clientSecret} = payment.cardPayment.stripe.paymentIntent;
  const stripe = Stripe(publishableKey);
  const {paymentIntent} = await stripe.retrievePaymentIntent(clientSecret);
  if (paymentIntent?.status === "processing") {
    await watch(current.booking, showUnsettled);
    return;
  }
  const elements = stripe.elements({clientSecret, appearance: APPEARANCE});
  await mount(elements);
  Object.assign(current, {payment, stripe, elements});
}

function mount(elements) {
  const element = elements.create("payment");
  return new Promise((resolve, reject) => {
    element.on("ready", resolve);
    element.on("loaderror", ({error}) => reject(new ShopError(error.message)));
    element.mount("#card");
  });
}

function leave() {
  checkout?.elements?.getElement("payment")?.destroy();
  checkout = null;
  for (const text of document.querySelectorAll(".error, .notice")) text.textContent = "";
  find("#card").replaceChildren();
  find("#payment-form button").hidden = false;
}

/** Tell that the money is on its way, and take the form away: paying again would pay twice. */
function showUnsettled() {
  find("#payment-form button").hidden = true;
  find("#card").replaceChildren();
  find("#pay .notice").textContent = UNSETTLED;
}

// What the visitor sees.

function find(selector, within = document) {
  return within.querySelector(selector);
}

function show(id) {
  const arrived = find(`#${id}`).hidden;
  /** @type {NodeListOf<HTMLElement>} */
  const sections = document.querySelectorAll("main > section");
  for (const section of sections) section.hidden = section.id !== id;
  if (arrived) find(`#${id} h1`).focus();
}

function say(text) {
  find("#status").textContent = text;
}

/** @param {Money} money */
function formatMoney({amount, currency, currencyPrecision}) {
  const format = new Intl.NumberFormat(undefined, {
    style: "currency",
    currency,
    minimumFractionDigits: currencyPrecision,
    maximumFractionDigits: currencyPrecision,
  });
  return format.format(amount / 10 ** currencyPrecision);
}

function formatDate(date) {
  const format = new Intl.DateTimeFormat(undefined, {dateStyle: "full", timeZone: "UTC"});
  return format.format(new Date(date));
}

function make(tag, text, className = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  node.className = className;
  return node;
}

/** @param {Booking} booking */
function fillSummary(list, booking) {
  const lines = {
    Tour: booking.tour,
    Date: formatDate(booking.date),
    People: String(booking.people),
    Reference: booking.reference,
    Total: formatMoney(booking),
  };
  const rows = Object.entries(lines).map(([term, value]) => {
    const row = make("div", "");
    row.append(make("dt", term), make("dd", value));
    return row;
  });
  list.replaceChildren(...rows);
}

/** @param {Booking[]} bookings */
function listBookings(bookings) {
  const items = bookings.map((booking) => {
    const link = make("a", booking.tour);
    link.href = `#${booking.reference}`;
    const item = make("li", "");
    const details = `${formatMoney(booking)} · ${booking.reference}`;
    item.append(link, make("span", STATUSES[booking.status], `tag ${booking.status.toLowerCase()}`));
    item.append(make("small", details));
    return item;
  });
  find("#bookings").replaceChildren(...items);
  find("#no-bookings").hidden = bookings.length > 0;
}

/** @param {Booking} booking */
function showBooked(booking) {
  const section = find("#booked");
  const confirmed = booking.status === "CONFIRMED";
  const back = formatMoney({...booking, amount: booking.totalRefunded});
  const cancelled = booking.totalRefunded ? `${back} goes back to your card.` : "Nothing was charged.";
  find(".badge", section).textContent = confirmed ? "Paid" : "Cancelled";
  find(".badge", section).className = `badge ${booking.status.toLowerCase()}`;
  find("h1", section).textContent = confirmed ? "Your booking is confirmed" : "Your booking is cancelled";
  find(".message", section).textContent = confirmed ? "See you there. Keep the reference at hand." : cancelled;
  fillSummary(find(".summary", section), booking);
  find("#refund-form").hidden = !confirmed;
  find("#refund-form").dataset.payment = booking.payment ?? "";
  show("booked");
}

function showPrices() {
  /** @type {NodeListOf<any>} */
  const inputs = document.querySelectorAll("[name=tour]");
  for (const input of inputs) {
    find(".money", input.closest("label")).textContent = formatMoney(priceOf(input, 1));
  }
  const people = Number(find("#people").value);
  find("#total").textContent = formatMoney(priceOf(find("[name=tour]:checked"), people));
}

function priceOf({dataset}, people) {
  return {
    amount: Number(dataset.amount) * people,
    currency: dataset.currency,
    currencyPrecision: Number(dataset.precision),
  };
}

/** Do a form's work with its button disabled, and say under it what went wrong. */
async function perform(form, work) {
  const [button, error] = [find("button", form), find(".error", form)];
  error.textContent = "";
  button.disabled = true;
  form.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (problem) {
    explain(problem, error);
  } finally {
    button.disabled = false;
    form.removeAttribute("aria-busy");
  }
}

async function navigate(work) {
  try {
    await work();
  } catch (problem) {
    explain(problem, find("#page-error"));
  }
}

function explain(problem, place) {
  place.textContent = problem.message;
  if (!(problem instanceof ShopError)) throw problem;
}

function handle(selector, work) {
  const form = find(selector);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!find("button", form).disabled) perform(form, () => work(form));
  });
}

function start() {
  handle("#booking-form", book);
  handle("#payment-form", pay);
  handle("#refund-form", refund);
  find("#booking-form").addEventListener("input", showPrices);
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", () => copy(button));
  }
  window.addEventListener("hashchange", () => navigate(route));
  showPrices();
  navigate(returnFromBank);
}

start();
