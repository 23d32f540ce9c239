/**
 * The emulator's Stripe.js: what a page needs of Stripe's, against the emulator that serves it.
 *
 * Use it as Stripe's own: `Stripe(key).elements({clientSecret})`, a `payment` or a `card` element,
 * `confirmPayment`, `confirmCardPayment`, `createPaymentMethod`, `retrievePaymentIntent` and
 * `handleNextAction`. Results are `{paymentIntent}` or `{error}`; only a mistake in the calling
 * code is thrown, as an IntegrationError. Never for real cards: what is typed goes to the emulator.
 */
(() => {
  "use strict";

  const BASE = new URL(document.currentScript.src).origin;
  const AMEX = /^3[47]/;
  const BRANDS = [["visa", /^4/], ["mastercard", /^(5[1-5]|2[2-7])/], ["amex", AMEX]];
  const BRAND_NAMES = {visa: "Visa", mastercard: "Mastercard", amex: "Amex"};
  const MESSAGES = {
    incomplete_number: "Your card number is incomplete.",
    invalid_number: "Your card number is invalid.",
    incomplete_expiry: "Your card's expiration date is incomplete.",
    invalid_expiry_month_past: "Your card's expiration date is in the past.",
    invalid_expiry_year_past: "Your card's expiration year is in the past.",
    incomplete_cvc: "Your card's security code is incomplete.",
  };
  const FIELDS = [
    {name: "number", label: "Card number", autocomplete: "cc-number",
     placeholder: "1234 1234 1234 1234", format: formatNumber, check: checkNumber},
    {name: "expiry", label: "Expiration date", autocomplete: "cc-exp",
     placeholder: "MM / YY", format: formatExpiry, check: checkExpiry},
    {name: "cvc", label: "CVC", autocomplete: "cc-csc",
     placeholder: "CVC", format: formatCvc, check: checkCvc},
  ];
  const VARIABLES = {
    colorPrimary: "--primary", colorBackground: "--background", colorText: "--text",
    colorDanger: "--danger", colorTextSecondary: "--muted", borderRadius: "--radius",
    fontFamily: "--font", fontSizeBase: "--size",
  };
  const STYLE = `
    :host { --primary: #0570de; --background: #fff; --text: #30313d; --danger: #c0123c;
            --muted: #5d6473; --border: #d5dbe3; --radius: 6px; --size: 16px;
            --font: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
            display: block; container-type: inline-size; }
    *, *::before { box-sizing: border-box; }
    form, fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
    .fields { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; color: var(--text);
              font: 400 var(--size)/1.4 var(--font); }
    .field { display: block; min-width: 0; }
    .field.number { grid-column: 1 / -1; }
    label { display: block; margin-bottom: 4px; font-size: .875em; }
    .box { position: relative; }
    input { width: 100%; padding: 11px 12px; color: var(--text); background: var(--background);
            border: 1px solid var(--border); border-radius: var(--radius); font: inherit;
            box-shadow: 0 1px 2px rgb(0 0 0 / 4%); outline: none; }
    input::placeholder { color: var(--muted); opacity: .75; }
    input:focus { border-color: var(--primary);
                  box-shadow: 0 0 0 3px color-mix(in srgb, var(--primary) 22%, transparent); }
    input[aria-invalid=true] { border-color: var(--danger); color: var(--danger); }
    .brand { position: absolute; right: 8px; top: 50%; transform: translateY(-50%);
             padding: 2px 6px; border-radius: 4px; background: #eef1f6; color: #414552;
             font-size: .7em; font-weight: 600; letter-spacing: .02em; pointer-events: none; }
    .brand:empty { display: none; }
    .error { margin: 4px 0 0; color: var(--danger); font-size: .8125em; }
    .error:empty { display: none; }
    .note { grid-column: 1 / -1; margin: 0; color: var(--muted); font-size: .8125em; }
    .row { grid-template-columns: minmax(0, 1fr) 6.2em 4.6em; gap: 0; padding: 0 4px;
           background: var(--background); border: 1px solid var(--border);
           border-radius: var(--radius); }
    .row .field.number { grid-column: auto; }
    .row label { position: absolute; width: 1px; height: 1px; overflow: hidden;
                 clip-path: inset(50%); white-space: nowrap; }
    .row input { border: 0; box-shadow: none; background: none; padding: 11px 8px; }
    .row:focus-within { border-color: var(--primary);
                  box-shadow: 0 0 0 3px color-mix(in srgb, var(--primary) 22%, transparent); }
    .row .error, .row .note, .row .brand { display: none; }
    @container (max-width: 24rem) {
      .row { grid-template-columns: 1fr 1fr; }
      .row .field.number { grid-column: 1 / -1; border-bottom: 1px solid var(--border); }
    }`;
  const DIALOG_STYLE = `
    *, *::before { box-sizing: border-box; }
    dialog { width: min(26rem, calc(100vw - 32px)); padding: 28px; border: 0;
             border-radius: 14px; color: #1a1f36; background: #fff;
             font: 400 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
             box-shadow: 0 20px 60px rgb(10 15 40 / 35%); }
    dialog::backdrop { background: rgb(20 25 50 / 55%); }
    .bank { display: flex; justify-content: space-between; margin: -28px -28px 22px;
            padding: 12px 28px; border-radius: 14px 14px 0 0; background: #1a1f36; color: #fff;
            font-size: 14px; font-weight: 600; }
    .bank span:last-child { font-weight: 400; opacity: .75; }
    h2 { margin: 0 0 8px; font-size: 20px; line-height: 1.3; }
    p { margin: 0 0 22px; color: #4a5068; }
    .actions { display: flex; gap: 12px; }
    button { flex: 1; padding: 11px 16px; border: 1px solid #c9d0dc; border-radius: 8px;
             background: #fff; color: #1a1f36; font: inherit; font-weight: 600; cursor: pointer; }
    button.primary { background: #0570de; border-color: #0570de; color: #fff; }
    button:focus-visible { outline: 3px solid rgb(5 112 222 / 40%); outline-offset: 2px; }`;

  class IntegrationError extends Error {
    constructor(message) {
      super(message);
      this.name = "IntegrationError";
    }
  }

  // Fields: how they are written, and what is wrong with them.

  const digits = (text) => text.replace(/\D/g, "");

  function brandOf(number) {
    const found = BRANDS.find(([, pattern]) => pattern.test(number));
    return found ? found[0] : "unknown";
  }

  function formatNumber(text) {
    const number = digits(text).slice(0, AMEX.test(digits(text)) ? 15 : 16);
    const groups = AMEX.test(number) ? /^(\d{0,4})(\d{0,6})(\d{0,5})$/ : null;
    const parts = groups ? number.match(groups).slice(1) : number.match(/\d{1,4}/g) || [];
    return parts.filter(Boolean).join(" ");
  }

  function formatExpiry(text, previous = "") {
    let typed = digits(text);
    if (/^[2-9]/.test(typed)) typed = `0${typed}`;
    if (Number(typed.slice(0, 2)) > 12) typed = `0${typed}`;
    typed = typed.slice(0, 4);
    const deleting = text.length < previous.length;
    if (typed.length < 2 || (typed.length === 2 && deleting)) return typed;
    return `${typed.slice(0, 2)} / ${typed.slice(2)}`;
  }

  function formatCvc(text) {
    return digits(text).slice(0, 4);
  }

  function passesLuhn(number) {
    const sum = [...number].reverse().reduce((total, digit, index) => {
      const value = Number(digit) * (index % 2 ? 2 : 1);
      return total + (value > 9 ? value - 9 : value);
    }, 0);
    return sum % 10 === 0;
  }

  function checkNumber(values) {
    const number = digits(values.number);
    if (number.length < (AMEX.test(number) ? 15 : 16)) return "incomplete_number";
    return passesLuhn(number) ? null : "invalid_number";
  }

  function checkExpiry(values) {
    const typed = digits(values.expiry);
    if (typed.length < 4) return "incomplete_expiry";
    const [month, year] = [Number(typed.slice(0, 2)), 2000 + Number(typed.slice(2))];
    const today = new Date();
    if (month < 1 || month > 12) return "incomplete_expiry";
    if (year < today.getFullYear()) return "invalid_expiry_year_past";
    const past = year === today.getFullYear() && month < today.getMonth() + 1;
    return past ? "invalid_expiry_month_past" : null;
  }

  function checkCvc(values) {
    const length = AMEX.test(digits(values.number)) ? 4 : 3;
    return values.cvc.length < length ? "incomplete_cvc" : null;
  }

  function validationError(code) {
    return {type: "validation_error", code, message: MESSAGES[code]};
  }

  function make(tag, attributes = {}, children = []) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  /** Return a style sheet that a Content-Security-Policy without inline styles allows. */
  function sheetOf(style) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(style);
    return sheet;
  }

  /** A card form in a shadow root of its own, so that the page's styles leave it alone. */
  class CardForm {
    constructor(type, {stripe, clientSecret, appearance = {}, options = {}}) {
      this._type = type;
      this._stripe = stripe;
      this._clientSecret = clientSecret;
      this._appearance = appearance;
      this._options = options;
      this._listeners = {};
      this._inputs = {};
      this._errors = {};
      this._values = {number: "", expiry: "", cvc: ""};
      this._host = null;
    }

    mount(target) {
      const parent = typeof target === "string" ? document.querySelector(target) : target;
      if (!parent) throw new IntegrationError(`Nothing to mount on: ${target}`);
      this.unmount();
      this._host = make("div", {class: "StripeElement"});
      const root = this._host.attachShadow({mode: "open"});
      root.adoptedStyleSheets = [sheetOf(STYLE)];
      root.append(this._form());
      this._style();
      parent.replaceChildren(this._host);
      this._announce();
    }

    unmount() {
      if (this._host) this._host.remove();
      this._host = null;
    }

    destroy() {
      this.unmount();
      this._listeners = {};
    }

    on(event, listener) {
      (this._listeners[event] ||= []).push(listener);
      return this;
    }

    once(event, listener) {
      const only = (payload) => {
        this.off(event, only);
        listener(payload);
      };
      return this.on(event, only);
    }

    off(event, listener) {
      const kept = (this._listeners[event] || []).filter((one) => listener && one !== listener);
      this._listeners[event] = kept;
      return this;
    }

    focus() {
      if (this._inputs.number) this._inputs.number.focus();
    }

    blur() {
      for (const input of Object.values(this._inputs)) input.blur();
    }

    clear() {
      for (const {name} of FIELDS) this._set(name, "");
      this._changed();
    }

    update(options = {}) {
      this._options = {...this._options, ...options};
      if (options.disabled !== undefined) {
        for (const input of Object.values(this._inputs)) input.disabled = options.disabled;
      }
    }

    /** Show what is wrong with every field, and return the first error. */
    validate() {
      const codes = FIELDS.map(({name, check}) => this._show(name, check(this._values)));
      const first = codes.findIndex(Boolean);
      if (first < 0) return null;
      const input = this._inputs[FIELDS[first].name];
      if (input) input.focus();
      return validationError(codes[first]);
    }

    get details() {
      const expiry = digits(this._values.expiry);
      return {
        number: digits(this._values.number),
        exp_month: Number(expiry.slice(0, 2)),
        exp_year: 2000 + Number(expiry.slice(2)),
        cvc: this._values.cvc,
      };
    }

    _form() {
      const fields = FIELDS.map((field) => this._field(field));
      if (this._type === "payment") {
        fields.push(make("p", {class: "note"}, ["Test mode: no real card is charged."]));
      }
      const shape = this._type === "card" ? "fields row" : "fields";
      return make("div", {class: shape, role: "group", "aria-label": "Card details"}, fields);
    }

    _field({name, label, autocomplete, placeholder, format}) {
      const input = make("input", {
        id: name, name, placeholder, autocomplete, inputmode: "numeric", type: "text",
        "aria-describedby": `${name}-error`, spellcheck: "false",
      });
      input.value = this._values[name];
      input.disabled = Boolean(this._options.disabled);
      input.addEventListener("input", () => this._typed(name, format));
      input.addEventListener("focus", () => this._fire("focus", {elementType: this._type}));
      input.addEventListener("blur", () => this._left(name));
      input.addEventListener("keydown", (event) => this._pressed(event));
      const error = make("p", {class: "error", id: `${name}-error`, role: "alert"});
      const brand = name === "number" ? [make("span", {class: "brand", "aria-hidden": "true"})] : [];
      this._inputs[name] = input;
      this._errors[name] = error;
      return make("div", {class: `field ${name}`}, [
        make("label", {for: name}, [label]),
        make("div", {class: "box"}, [input, ...brand]),
        error,
      ]);
    }

    _typed(name, format) {
      const input = this._inputs[name];
      const before = digits(input.value.slice(0, input.selectionStart)).length;
      const atEnd = input.selectionStart === input.value.length;
      input.value = format(input.value, this._values[name]);
      if (!atEnd) placeCaret(input, before);
      this._values[name] = input.value;
      this._show(name, null);
      if (atEnd) this._advance(name);
      this._changed();
    }

    /** Go on to the next field when this one is complete and right. */
    _advance(name) {
      const at = FIELDS.findIndex((field) => field.name === name);
      const next = FIELDS[at + 1];
      if (next && !FIELDS[at].check(this._values)) this._inputs[next.name].focus();
    }

    _left(name) {
      const {check} = FIELDS.find((field) => field.name === name);
      if (this._values[name]) this._show(name, check(this._values));
      this._changed();
      this._fire("blur", {elementType: this._type});
    }

    _pressed(event) {
      if (event.key === "Escape") this._fire("escape", {elementType: this._type});
      const form = event.key === "Enter" && this._host.closest("form");
      if (form) form.requestSubmit();
    }

    _set(name, value) {
      this._values[name] = value;
      if (this._inputs[name]) this._inputs[name].value = value;
      this._show(name, null);
    }

    _show(name, code) {
      if (!this._inputs[name]) return code;
      this._errors[name].textContent = code ? MESSAGES[code] : "";
      this._inputs[name].setAttribute("aria-invalid", String(Boolean(code)));
      return code;
    }

    _changed() {
      const brand = brandOf(digits(this._values.number));
      const badge = this._host && this._host.shadowRoot.querySelector(".brand");
      if (badge) badge.textContent = BRAND_NAMES[brand] || "";
      const codes = FIELDS.map(({check}) => check(this._values));
      const wrong = codes.find((code) => code && code.startsWith("invalid"));
      const state = {
        elementType: this._type,
        empty: Object.values(this._values).every((value) => !value),
        complete: codes.every((code) => !code),
      };
      const more = this._type === "card"
        ? {brand, error: wrong ? validationError(wrong) : undefined}
        : {value: {type: "card"}, collapsed: false};
      this._fire("change", {...state, ...more});
    }

    _style() {
      const given = this._appearance.variables || {};
      for (const [name, property] of Object.entries(VARIABLES)) {
        if (given[name]) this._host.style.setProperty(property, given[name]);
      }
      if (this._appearance.theme === "night") {
        const night = {"--background": "#30313d", "--text": "#fff", "--border": "#424353",
                       "--muted": "#b5b8c4"};
        for (const [name, value] of Object.entries(night)) this._host.style.setProperty(name, value);
      }
    }

    async _announce() {
      const known = this._type === "payment" && this._clientSecret;
      // Awaited in either case: listeners may be added after mounting.
      const {error} = await (known ? this._stripe.retrievePaymentIntent(this._clientSecret) : {});
      if (!this._host) return;
      this._fire(error ? "loaderror" : "ready", error ? {elementType: this._type, error}
        : {elementType: this._type});
    }

    _fire(event, payload) {
      for (const listener of this._listeners[event] || []) listener(payload);
    }
  }

  function placeCaret(input, after) {
    let position = 0;
    for (let seen = 0; seen < after && position < input.value.length; position += 1) {
      if (/\d/.test(input.value[position])) seen += 1;
    }
    input.setSelectionRange(position, position);
  }

  class Elements {
    constructor(stripe, options) {
      this._stripe = stripe;
      this._options = options;
      this._made = {};
    }

    get clientSecret() {
      return this._options.clientSecret;
    }

    create(type, options = {}) {
      if (!["payment", "card"].includes(type)) {
        throw new IntegrationError(`The emulator has a payment and a card element, no ${type}.`);
      }
      if (this._made[type]) {
        throw new IntegrationError(`Can only create one Element of type ${type}.`);
      }
      const {clientSecret, appearance} = this._options;
      const element = new CardForm(type, {stripe: this._stripe, clientSecret, appearance, options});
      this._made[type] = element;
      const destroy = element.destroy.bind(element);
      element.destroy = () => {
        delete this._made[type];
        destroy();
      };
      return element;
    }

    getElement(type) {
      return this._made[type] || null;
    }

    get mounted() {
      return this._made.payment || this._made.card || null;
    }

    update(options) {
      this._options = {...this._options, ...options};
    }

    async fetchUpdates() {
      return {};
    }

    async submit() {
      const element = this.mounted;
      if (!element) throw new IntegrationError("Create and mount an Element before submitting.");
      const error = element.validate();
      return error ? {error} : {selectedPaymentMethod: "card"};
    }
  }

  // Talking to the emulator.

  /** Return the form encoding of nested parameters: `a[b]=c`. */
  function encode(params, prefix = "", form = new URLSearchParams()) {
    for (const [name, value] of Object.entries(params)) {
      const key = prefix ? `${prefix}[${name}]` : name;
      if (value !== null && typeof value === "object") encode(value, key, form);
      else if (value !== undefined && value !== null) form.append(key, String(value));
    }
    return form;
  }

  function intentId(clientSecret) {
    const [, id] = /^(pi_\w+?)_secret_\w+$/.exec(String(clientSecret)) || [];
    if (!id) {
      throw new IntegrationError("Invalid value for clientSecret: it has the form pi_…_secret_….");
    }
    return id;
  }

  function connectionError() {
    return {type: "api_connection_error", message: "We are experiencing issues connecting to our "
      + "payments provider. You have not been charged. Please check your internet connection and "
      + "try again."};
  }

  class StripeInstance {
    constructor(key, {stripeAccount} = {}) {
      this._headers = {Authorization: `Bearer ${key}`};
      if (stripeAccount) this._headers["Stripe-Account"] = stripeAccount;
    }

    elements(options = {}) {
      return new Elements(this, options);
    }

    async confirmPayment({elements, clientSecret, confirmParams = {}, redirect = "always"}) {
      if (redirect !== "if_required" && !confirmParams.return_url) {
        throw new IntegrationError("confirmPayment needs confirmParams.return_url, unless redirect "
          + "is \"if_required\".");
      }
      const secret = clientSecret || (elements && elements.clientSecret);
      const {payment_method_data: more = {}, ...params} = confirmParams;
      if (!params.payment_method) {
        const {error, paymentMethod} = await this.createPaymentMethod({elements, params: more});
        if (error) return {error};
        params.payment_method = paymentMethod.id;
      }
      const result = await this._confirm(secret, params);
      if (result.paymentIntent && redirect !== "if_required") {
        return leaveFor(confirmParams.return_url, result.paymentIntent);
      }
      return result;
    }

    async confirmCardPayment(clientSecret, data = {}, {handleActions = true} = {}) {
      const {payment_method: method, ...params} = data;
      if (typeof method === "string") params.payment_method = method;
      else if (method) {
        const {card, billing_details} = method;
        const made = await this.createPaymentMethod({type: "card", card, billing_details});
        if (made.error) return {error: made.error};
        params.payment_method = made.paymentMethod.id;
      }
      return this._confirm(clientSecret, params, {handleActions});
    }

    async createPaymentMethod({elements, card, billing_details, params = {}}) {
      const element = elements ? elements.mounted : card;
      if (!(element instanceof CardForm)) {
        throw new IntegrationError("Pass the Elements instance or the card Element that was made.");
      }
      const invalid = element.validate();
      if (invalid) return {error: invalid};
      const details = {type: "card", billing_details, ...params, card: element.details};
      const {error, body} = await this._call("POST", "/v1/payment_methods", details);
      return error ? {error} : {paymentMethod: body};
    }

    async retrievePaymentIntent(clientSecret) {
      const path = `/v1/payment_intents/${intentId(clientSecret)}`;
      const {error, body} = await this._call("GET", path, {client_secret: clientSecret});
      return error ? {error} : {paymentIntent: body};
    }

    async handleNextAction({clientSecret}) {
      const {error, paymentIntent} = await this.retrievePaymentIntent(clientSecret);
      return error ? {error} : this._challenge(clientSecret, paymentIntent);
    }

    async handleCardAction(clientSecret) {
      return this.handleNextAction({clientSecret});
    }

    async _confirm(clientSecret, params, {handleActions = true} = {}) {
      const path = `/v1/payment_intents/${intentId(clientSecret)}/confirm`;
      const sent = {...params, client_secret: clientSecret, use_stripe_sdk: true};
      const {error, body} = await this._call("POST", path, sent);
      if (error) return {error};
      return handleActions ? this._challenge(clientSecret, body) : {paymentIntent: body};
    }

    async _challenge(clientSecret, paymentIntent) {
      if (paymentIntent.status !== "requires_action") return {paymentIntent};
      const succeed = await askCustomer(paymentIntent);
      const path = `/_emulator/payment_intents/${paymentIntent.id}/authenticate`;
      const told = await this._tell(path, {succeed, client_secret: clientSecret});
      if (told.error) return told;
      const result = await this.retrievePaymentIntent(clientSecret);
      const failure = result.paymentIntent && result.paymentIntent.last_payment_error;
      return failure ? {error: {...failure, payment_intent: result.paymentIntent}} : result;
    }

    _call(method, path, params) {
      const form = encode(params);
      const url = method === "GET" ? `${BASE}${path}?${form}` : `${BASE}${path}`;
      return answerOf(url, {method, headers: this._headers, body: method === "GET" ? null : form});
    }

    _tell(path, message) {
      const headers = {"Content-Type": "application/json"};
      return answerOf(`${BASE}${path}`, {method: "POST", headers, body: JSON.stringify(message)});
    }
  }

  async function answerOf(url, request) {
    try {
      const response = await fetch(url, request);
      const body = await response.json();
      return body.error ? {error: body.error} : {body};
    } catch {
      return {error: connectionError()};
    }
  }

  /** Go to the return URL, as after a payment method that redirects; never resolves. */
  function leaveFor(returnUrl, intent) {
    const url = new URL(returnUrl, location.href);
    url.searchParams.set("payment_intent", intent.id);
    url.searchParams.set("payment_intent_client_secret", intent.client_secret);
    url.searchParams.set("redirect_status", intent.status === "processing" ? "pending" : "succeeded");
    location.assign(url);
    return new Promise(() => {});
  }

  /** Show the bank's challenge; resolves to whether the customer completed it. */
  function askCustomer(intent) {
    const complete = make("button", {class: "primary", type: "button"}, ["Complete"]);
    const fail = make("button", {type: "button"}, ["Fail"]);
    const dialog = make("dialog", {role: "dialog", "aria-modal": "true", "aria-labelledby": "title"}, [
      make("div", {class: "bank"}, [make("span", {}, ["Test bank"]),
                                    make("span", {}, ["3D Secure"])]),
      make("h2", {id: "title"}, ["Authenticate your payment"]),
      make("p", {}, [`Your bank wants to know that it is you who pays ${amountOf(intent)}. `
        + "This is a test page: choose how the authentication ends."]),
      make("div", {class: "actions"}, [complete, fail]),
    ]);
    const host = make("div", {class: "StripeChallenge"});
    const root = host.attachShadow({mode: "open"});
    root.adoptedStyleSheets = [sheetOf(DIALOG_STYLE)];
    root.append(dialog);
    document.body.append(host);
    dialog.showModal();
    return new Promise((resolve) => {
      const end = (succeed) => {
        host.remove();
        resolve(succeed);
      };
      complete.addEventListener("click", () => end(true));
      fail.addEventListener("click", () => end(false));
      dialog.addEventListener("cancel", () => end(false));
    });
  }

  function amountOf({amount, currency}) {
    const format = new Intl.NumberFormat(undefined, {style: "currency", currency});
    return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
  }

  window.Stripe = function Stripe(key, options) {
    if (!/^pk_test_\w+$/.test(String(key))) {
      throw new IntegrationError("Please call Stripe() with a publishable test key: pk_test_….");
    }
    return new StripeInstance(key, options);
  };
  window.Stripe.version = "emulator";
})();
