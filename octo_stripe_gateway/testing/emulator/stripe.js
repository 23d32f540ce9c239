/**
 * The emulator's Stripe.js: what a page needs of Stripe's, against the emulator that serves it.
 *
 * Use it as Stripe's own: `Stripe(key).elements({clientSecret})` or `elements({mode, amount, currency})`; `payment`,
 * `expressCheckout`, `card` and its three parts as elements; `confirmPayment`, `confirmCardPayment`,
 * `createPaymentMethod`, `retrievePaymentIntent` and `handleNextAction`. React's and Vue's wrappers work with it.
 * Results are `{paymentIntent}` or `{error}`; a mistake in the calling code is thrown as an IntegrationError, in
 * Stripe's words. Never for real cards: what is typed goes to the emulator.
 */
(() => {
  "use strict";

  const BASE = new URL(document.currentScript.src).origin;
  // The release of Stripe.js that goes with the API version of the SDK.
  const RELEASE = "endive";

  // What the customer reads.

  const WORDS = {
    en: {
      card_details: "Card details",
      number: "Card number",
      expiry: "Expiration date",
      cvc: "CVC",
      method: "Payment method",
      card: "Card",
      us_bank_account: "US bank account",
      us_bank_account_note: "Test bank: the payment is processing for a while.",
      note: "Test mode: no real card is charged.",
      wallet: "Test wallet",
      incomplete_number: "Your card number is incomplete.",
      invalid_number: "Your card number is invalid.",
      incomplete_expiry: "Your card's expiration date is incomplete.",
      invalid_expiry_month_past: "Your card's expiration date is in the past.",
      invalid_expiry_year_past: "Your card's expiration year is in the past.",
      incomplete_cvc: "Your card's security code is incomplete.",
      api_connection_error: "We are experiencing issues connecting to our payments provider. You have not been "
        + "charged. Please check your internet connection and try again.",
      payment_intent_authentication_failure: "We are unable to authenticate your payment method. Please choose a "
        + "different payment method and try again.",
      bank: "Test bank",
      challenge: "Authenticate your payment",
      challenge_text: "Your bank wants to know that it is you who pays {amount}. This is a test page: choose how the "
        + "authentication ends.",
      complete: "Complete",
      fail: "Fail",
    },
    de: {
      card_details: "Kartendaten",
      number: "Kartennummer",
      expiry: "Ablaufdatum",
      cvc: "Prüfziffer",
      method: "Zahlungsmethode",
      card: "Karte",
      us_bank_account: "US-Bankkonto",
      us_bank_account_note: "Testbank: Die Zahlung ist eine Weile in Bearbeitung.",
      note: "Testmodus: Es wird keine echte Karte belastet.",
      wallet: "Test-Wallet",
      incomplete_number: "Die Kartennummer ist unvollständig.",
      invalid_number: "Die Kartennummer ist ungültig.",
      incomplete_expiry: "Das Ablaufdatum Ihrer Karte ist unvollständig.",
      invalid_expiry_month_past: "Das Ablaufdatum Ihrer Karte liegt in der Vergangenheit.",
      invalid_expiry_year_past: "Das Ablaufjahr Ihrer Karte liegt in der Vergangenheit.",
      incomplete_cvc: "Die Prüfziffer Ihrer Karte ist unvollständig.",
      api_connection_error: "Wir haben Probleme, unseren Zahlungsdienstleister zu erreichen. Ihre Karte wurde nicht "
        + "belastet. Bitte prüfen Sie Ihre Internetverbindung und versuchen Sie es noch einmal.",
      payment_intent_authentication_failure: "Ihre Zahlungsmethode konnte nicht authentifiziert werden. Bitte wählen "
        + "Sie eine andere Zahlungsmethode und versuchen Sie es noch einmal.",
      card_declined: "Ihre Karte wurde abgelehnt.",
      insufficient_funds: "Ihre Karte verfügt nicht über genügend Guthaben.",
      expired_card: "Ihre Karte ist abgelaufen.",
      incorrect_cvc: "Die Prüfziffer Ihrer Karte ist falsch.",
      processing_error: "Beim Verarbeiten Ihrer Karte ist ein Fehler aufgetreten. Versuchen Sie es in Kürze noch "
        + "einmal.",
      bank: "Testbank",
      challenge: "Authentifizieren Sie Ihre Zahlung",
      challenge_text: "Ihre Bank möchte wissen, dass Sie es sind, der {amount} bezahlt. Dies ist eine Testseite: "
        + "Wählen Sie, wie die Authentifizierung ausgeht.",
      complete: "Abschließen",
      fail: "Ablehnen",
    },
  };

  /** Return how to say things in a language; without one it is the browser's. */
  function speak(locale) {
    const asked = !locale || locale === "auto" ? navigator.language : locale;
    const language = asked.split("-")[0] in WORDS ? asked.split("-")[0] : "en";
    return {locale: asked, language, say: (name) => WORDS[language][name] || WORDS.en[name]};
  }

  // What the calling code reads.

  const MISTAKES = {
    no_key: "Please call Stripe() with your publishable key. You used an empty string.",
    secret_key: "You should not use your secret key with Stripe.js.\n        Please pass a publishable key instead.",
    no_intent: "In order to create a payment element, you must pass a clientSecret or mode when creating the Elements "
      + "group.\n\ne.g. stripe.elements({clientSecret: \"{{CLIENT_SECRET}}\"})",
    destroyed: "This Element has already been destroyed. Please create a new one.",
    not_mounted: "Invalid value for stripe.confirmPayment(): elements should have a mounted Payment Element or Express "
      + "Checkout Element.",
    not_ready: "We could not retrieve data from the specified Element. Please make sure the Element you are "
      + "attempting to use is mounted and the ready event has been emitted.",
    no_secret: "You must pass in a clientSecret when calling stripe.confirmPayment().",
    no_return_url: "stripe.confirmPayment(): the `confirmParams.return_url` argument is required unless passing "
      + "`redirect: 'if_required'`.",
    no_return_url_for_redirects: "stripe.confirmPayment(): the `confirmParams.return_url` argument is required when "
      + "using automatic payment methods.",
    outside_confirm: "Element confirming payment is \"expressCheckout\", but stripe.confirmPayment() was not called "
      + "within the \"confirm\" event. Please call stripe.confirmPayment() in the \"confirm\" event "
      + "(https://stripe.com/docs/js/elements_object/express_checkout_element_confirm_event)",
  };

  const notSubmitted = (caller) => `elements.submit() must be called before ${caller}. Call elements.submit() as soon `
    + "as your customer presses pay, prior to any asynchronous work. Integration guide: "
    + "https://stripe.com/docs/payments/accept-a-payment-deferred";

  const notASecret = (place, given) => `Invalid value for ${place} should be a client secret of the form `
    + `\${id}_secret_\${secret}. You specified: ${given}.`;

  class IntegrationError extends Error {
    constructor(message) {
      super(message);
      this.name = "IntegrationError";
    }
  }

  // Card fields: how they are written, and what is wrong with them.

  const AMEX = /^3[47]/;
  const BRANDS = [["visa", /^4/], ["mastercard", /^(5[1-5]|2[2-7])/], ["amex", AMEX]];
  const BRAND_NAMES = {visa: "Visa", mastercard: "Mastercard", amex: "Amex"};
  const FIELDS = [
    {name: "number", autocomplete: "cc-number", placeholder: "1234 1234 1234 1234", format: formatNumber,
     check: checkNumber},
    {name: "expiry", autocomplete: "cc-exp", placeholder: "MM / YY", format: formatExpiry, check: checkExpiry},
    {name: "cvc", autocomplete: "cc-csc", placeholder: "CVC", format: formatCvc, check: checkCvc},
  ];
  // Which field a declined card's error is about; of any other, the number is.
  const FIELDS_OF_ERRORS = {expired_card: "expiry", incorrect_cvc: "cvc", invalid_cvc: "cvc"};

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

  // What is drawn.

  const VARIABLES = {
    colorPrimary: "--primary", colorBackground: "--background", colorText: "--text",
    colorDanger: "--danger", colorTextSecondary: "--muted", borderRadius: "--radius",
    fontFamily: "--font", fontSizeBase: "--size",
  };
  const NIGHT = {"--background": "#30313d", "--text": "#fff", "--border": "#6b6e80", "--muted": "#b5b8c4",
                 "--primary": "#7ab7ff", "--danger": "#ff9d9d"};
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
    .methods { display: grid; grid-auto-columns: 1fr; grid-auto-flow: column; gap: 12px; margin-bottom: 12px;
               color: var(--text); font: 400 var(--size)/1.4 var(--font); }
    .method { display: flex; gap: 8px; align-items: center; margin: 0; padding: 10px 12px;
              background: var(--background); border: 1px solid var(--border); border-radius: var(--radius); cursor: pointer; }
    .method input { width: auto; margin: 0; accent-color: var(--primary); box-shadow: none; }
    .wallet { width: 100%; min-height: 44px; border: 1px solid var(--border); border-radius: var(--radius); background: #111; color: #fff;
              font: 600 var(--size)/1.4 var(--font); cursor: pointer; }
    .wallet:focus-visible { outline: 3px solid var(--primary); outline-offset: 2px; }
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

  /** An element of Stripe's, in a shadow root of its own, so that the page's styles leave it alone. */
  class StripeElement {
    constructor(type, group, options) {
      this._type = type;
      this._group = group;
      this._options = options;
      this._listeners = {};
      this._host = null;
      this._destroyed = false;
    }

    mount(target) {
      if (this._destroyed) throw new IntegrationError(MISTAKES.destroyed);
      const parent = typeof target === "string" ? document.querySelector(target) : target;
      if (!parent) {
        throw new IntegrationError(`The selector you specified (${target}) applies to no DOM elements that are `
          + "currently on the page. Make sure the element exists on the page before calling mount().");
      }
      this.unmount();
      this._host = make("div", {class: "StripeElement"});
      this._host.attachShadow({mode: "open"}).adoptedStyleSheets = [sheetOf(STYLE)];
      this._draw();
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
      this._group._forget(this._type);
      this._destroyed = true;
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

    update(options = {}) {
      this._options = {...this._options, ...options};
    }

    focus() {}

    blur() {}

    clear() {}

    collapse() {}

    /** Draw everything anew, in the language and with the values of now. */
    _draw() {
      this._host.shadowRoot.replaceChildren(this._content());
    }

    _style() {
      if (!this._host) return;
      const {theme, variables = {}} = this._group._options.appearance || {};
      const values = theme === "night" ? {...NIGHT} : {};
      for (const [name, property] of Object.entries(VARIABLES)) {
        if (variables[name]) values[property] = variables[name];
      }
      for (const property of [...this._host.style]) this._host.style.removeProperty(property);
      for (const [property, value] of Object.entries(values)) this._host.style.setProperty(property, value);
    }

    async _announce() {
      this._fire("loaderstart", {elementType: this._type});
      const error = await this._load();
      if (!this._host) return;
      this._ready = !error;
      this._fire(error ? "loaderror" : "ready", {elementType: this._type, ...(error ? {error} : this._offer())});
    }

    /** Find out what the element needs to know; returns the error that keeps it from its work. */
    async _load() {
      return null;
    }

    /** Return what `ready` tells beyond the type. */
    _offer() {
      return {};
    }

    _fire(event, payload) {
      for (const listener of [...(this._listeners[event] || [])]) listener(payload);
    }
  }

  /** Card fields: all three as `payment` or `card`, or one of them. */
  class CardElement extends StripeElement {
    constructor(type, group, options, names) {
      super(type, group, options);
      this._fields = FIELDS.filter(({name}) => names.includes(name));
      this._inputs = {};
      this._errors = {};
    }

    update(options = {}) {
      super.update(options);
      for (const input of Object.values(this._inputs)) input.disabled = Boolean(this._options.disabled);
    }

    focus() {
      const [first] = Object.values(this._inputs);
      if (first) first.focus();
    }

    blur() {
      for (const input of Object.values(this._inputs)) input.blur();
    }

    clear() {
      for (const {name} of this._fields) {
        this._values[name] = "";
        if (this._inputs[name]) this._inputs[name].value = "";
        this._show(name, null);
      }
      this._changed();
    }

    /** Show what is wrong with every field, and return the first error. */
    validate() {
      const codes = this._fields.map(({name, check}) => this._show(name, check(this._values)));
      const first = codes.findIndex(Boolean);
      if (first < 0) return null;
      const input = this._inputs[this._fields[first].name];
      if (input) input.focus();
      return this._group._validationError(codes[first]);
    }

    /** Return what a payment method is made of. */
    get details() {
      const {number, expiry, cvc} = this._values;
      return {
        type: "card",
        card: {
          number: digits(number),
          exp_month: Number(digits(expiry).slice(0, 2)),
          exp_year: 2000 + Number(digits(expiry).slice(2)),
          cvc,
        },
      };
    }

    /** Mark the field that a declined card's error is about. */
    mark(code) {
      const input = this._inputs[FIELDS_OF_ERRORS[code] || "number"];
      if (input) input.setAttribute("aria-invalid", "true");
    }

    get _values() {
      return this._group._values;
    }

    _content() {
      const shape = this._type === "card" ? "fields row" : "fields";
      const label = this._group._say("card_details");
      return make("div", {class: shape, role: "group", "aria-label": label}, this._cardFields());
    }

    _cardFields() {
      return this._fields.map((field) => this._field(field));
    }

    _field({name, autocomplete, placeholder, format}) {
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
        make("label", {for: name}, [this._group._say(name)]),
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
      const at = this._fields.findIndex((field) => field.name === name);
      const next = this._fields[at + 1];
      if (next && !this._fields[at].check(this._values)) this._inputs[next.name].focus();
    }

    _left(name) {
      const {check} = FIELDS.find((field) => field.name === name);
      const code = this._values[name] && check(this._values);
      if (code) this._show(name, code);
      this._changed();
      this._fire("blur", {elementType: this._type});
    }

    _pressed(event) {
      if (event.key === "Escape") this._fire("escape", {elementType: this._type});
      const form = event.key === "Enter" && this._host.closest("form");
      if (form) form.requestSubmit();
    }

    _show(name, code) {
      if (!this._inputs[name]) return code;
      this._errors[name].textContent = code ? this._group._say(code) : "";
      this._inputs[name].setAttribute("aria-invalid", String(Boolean(code)));
      return code;
    }

    _changed() {
      const brand = brandOf(digits(this._values.number));
      const badge = this._host && this._host.shadowRoot.querySelector(".brand");
      if (badge) badge.textContent = BRAND_NAMES[brand] || "";
      const codes = this._fields.map(({check}) => check(this._values));
      const wrong = codes.find((code) => code && code.startsWith("invalid"));
      this._fire("change", {
        elementType: this._type,
        empty: this._fields.every(({name}) => !this._values[name]),
        complete: codes.every((code) => !code),
        ...this._describeChange(brand, wrong ? this._group._validationError(wrong) : undefined),
      });
    }

    _describeChange(brand, error) {
      return {brand, error};
    }
  }

  /** The Payment Element: a card or, where the intent takes one, a bank account. */
  class PaymentElement extends CardElement {
    constructor(type, group, options) {
      super(type, group, options, ["number", "expiry", "cvc"]);
      this._methods = ["card"];
      this._method = "card";
    }

    validate() {
      return this._method === "card" ? super.validate() : null;
    }

    get details() {
      const account = {account_holder_type: "individual", routing_number: "110000000", account_number: "000123456789"};
      return this._method === "card" ? super.details : {type: this._method, [this._method]: account};
    }

    async _load() {
      const error = await this._group._findIntent();
      const known = WORDS.en;
      this._methods = (this._group._intent?.payment_method_types || ["card"]).filter((method) => method in known);
      if (this._host && this._methods.length > 1) this._draw();
      return error;
    }

    _content() {
      const card = this._method === "card";
      this._inputs = {};
      const fields = card ? this._cardFields() : [];
      const note = make("p", {class: "note"}, [this._group._say(card ? "note" : `${this._method}_note`)]);
      const label = this._group._say("card_details");
      const form = make("div", {class: "fields", role: "group", "aria-label": label}, [...fields, note]);
      return make("div", {}, this._methods.length > 1 ? [this._choice(), form] : [form]);
    }

    _choice() {
      const choices = this._methods.map((method) => {
        const input = make("input", {type: "radio", name: "method", value: method});
        input.checked = method === this._method;
        input.addEventListener("change", () => this._choose(method));
        return make("label", {class: "method"}, [input, this._group._say(method)]);
      });
      return make("div", {class: "methods", role: "radiogroup", "aria-label": this._group._say("method")}, choices);
    }

    _choose(method) {
      this._method = method;
      this._draw();
      this._host.shadowRoot.querySelector(`[value=${method}]`).focus();
      this._changed();
    }

    _describeChange() {
      const complete = this._method === "card" ? {} : {empty: false, complete: true};
      return {...complete, value: {type: this._method}, collapsed: false};
    }
  }

  /** The Express Checkout Element, with a wallet that always pays; shown on registered domains and this machine. */
  class ExpressElement extends StripeElement {
    validate() {
      return null;
    }

    get details() {
      return {type: "card", card: {token: "tok_visa"}};
    }

    mark() {}

    async _load() {
      const asked = {referrer_host: location.hostname};
      const {error, body} = await this._group._stripe._call("GET", "/v1/elements/sessions", asked);
      this._shown = body?.google_pay_preference === "enabled";
      if (this._host) this._draw();
      return error || this._group._findIntent();
    }

    _offer() {
      return this._shown ? {availablePaymentMethods: {applePay: false, googlePay: true, link: false}} : {};
    }

    _content() {
      if (!this._shown) return make("div");
      const button = make("button", {type: "button", class: "wallet"}, [this._group._say("wallet")]);
      button.addEventListener("click", () => this._press());
      return button;
    }

    _press() {
      const details = {elementType: this._type, expressPaymentType: "google_pay"};
      if (!this._listeners.click?.length) this._confirm(details);
      else this._fire("click", {...details, resolve: () => this._confirm(details), reject: () => {}});
    }

    _confirm(details) {
      this._group._confirming = this;
      const paymentFailed = () => {
        this._group._confirming = null;
      };
      this._fire("confirm", {...details, billingDetails: {name: "Test Wallet"}, paymentFailed});
    }
  }

  /** Says on the page that the emulator lacks an element, and leaves the rest of the page at work. */
  class MissingElement extends StripeElement {
    async getValue() {
      return {complete: false, isNewAddress: true, value: {}};
    }

    validate() {
      return null;
    }

    _content() {
      const message = `The emulator's Stripe.js has no ${this._type} element; Stripe's own shows it here.`;
      console.warn(message);
      return make("p", {class: "note"}, [message]);
    }
  }

  function placeCaret(input, after) {
    let position = 0;
    for (let seen = 0; seen < after && position < input.value.length; position += 1) {
      if (/\d/.test(input.value[position])) seen += 1;
    }
    input.setSelectionRange(position, position);
  }

  const MAKERS = {
    payment: (group, options) => new PaymentElement("payment", group, options),
    expressCheckout: (group, options) => new ExpressElement("expressCheckout", group, options),
    card: (group, options) => new CardElement("card", group, options, ["number", "expiry", "cvc"]),
    cardNumber: (group, options) => new CardElement("cardNumber", group, options, ["number"]),
    cardExpiry: (group, options) => new CardElement("cardExpiry", group, options, ["expiry"]),
    cardCvc: (group, options) => new CardElement("cardCvc", group, options, ["cvc"]),
  };

  class Elements {
    constructor(stripe, options) {
      this._stripe = stripe;
      this._options = options;
      this._made = {};
      this._values = {number: "", expiry: "", cvc: ""};
      this._intent = null;
      this._submitted = false;
      this._confirming = null;
      this._locale(options.locale);
      const {clientSecret} = options;
      if (clientSecret !== undefined && !intentId(clientSecret)) {
        throw new IntegrationError(notASecret("elements(): clientSecret", clientSecret));
      }
    }

    create(type, options = {}) {
      if (this._made[type]) throw new IntegrationError(`Can only create one Element of type ${type}.`);
      const known = this._options.clientSecret || this._options.mode;
      if (type === "payment" && !known) throw new IntegrationError(MISTAKES.no_intent);
      const maker = MAKERS[type] || ((group, given) => new MissingElement(type, group, given));
      this._made[type] = maker(this, options || {});
      return this._made[type];
    }

    /** Find by type or, as React's wrapper has it, by component. */
    getElement(type) {
      return this._made[typeof type === "string" ? type : type?.__elementType] || null;
    }

    update(options) {
      this._options = {...this._options, ...options};
      if ("locale" in options) this._locale(options.locale);
      for (const element of Object.values(this._made)) {
        if (element._host && "locale" in options) element._draw();
        element._style();
      }
    }

    async fetchUpdates() {
      return {error: (await this._findIntent({anew: true})) || undefined};
    }

    async submit() {
      const element = this._paying();
      if (!element || !element._ready) throw new IntegrationError(MISTAKES.not_ready);
      const error = element.validate();
      if (error) return {error};
      this._submitted = true;
      return {selectedPaymentMethod: element.details.type};
    }

    /** Return the element that pays: the one whose confirm event this is, or the form. */
    _paying() {
      const form = this._confirming || this._made.payment || this._made.card || this._made.cardNumber;
      return form || this._made.expressCheckout || null;
    }

    _cardElements() {
      return Object.values(this._made).filter((element) => element instanceof CardElement);
    }

    async _findIntent({anew = false} = {}) {
      // Awaited in either case: listeners may be added after mounting.
      const known = this._options.clientSecret && (anew || !this._intent);
      const {clientSecret} = this._options;
      const {error, paymentIntent} = await (known ? this._stripe.retrievePaymentIntent(clientSecret) : {});
      this._intent = paymentIntent || this._intent;
      return error || null;
    }

    _locale(locale) {
      this._words = speak(locale || this._stripe._options.locale);
    }

    _say(name) {
      return this._words.say(name);
    }

    _validationError(code) {
      return {type: "validation_error", code, message: this._say(code)};
    }

    _forget(type) {
      delete this._made[type];
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
    return id;
  }

  /** Return what Stripe says of a return URL that is none. */
  function urlError() {
    return {type: "invalid_request_error", code: "url_invalid", param: "return_url", message: "Not a valid URL"};
  }

  /** Return what Stripe says where the intent isn't what the Elements were made for. */
  function mismatchOf({amount, currency}, intent) {
    const expected = {amount, currency: currency?.toLowerCase()};
    const name = Object.keys(expected).find((each) => expected[each] !== intent[each]);
    if (!name) return null;
    const message = `The provided ${name} (${expected[name]}) does not match the expected ${name} (${intent[name]}). `
      + "Try confirming with a Payment Intent that is configured to use the same parameters as Stripe Elements.";
    return {type: "invalid_request_error", message};
  }

  class StripeInstance {
    constructor(key, options = {}) {
      this._options = options;
      this._headers = {Authorization: `Bearer ${key}`};
      if (options.stripeAccount) this._headers["Stripe-Account"] = options.stripeAccount;
      this._words = speak(options.locale);
    }

    elements(options = {}) {
      return new Elements(this, options);
    }

    async confirmPayment({elements, clientSecret, confirmParams = {}, redirect = "always"}) {
      const secret = clientSecret || elements?._options.clientSecret;
      const {payment_method_data: more = {}, ...params} = confirmParams;
      const intent = await this._prepare({elements, secret, params, redirect});
      if (intent.error) return intent;
      if (!params.payment_method) {
        const made = await this._createMethod(elements._paying(), more);
        if (made.error) return made;
        params.payment_method = made.paymentMethod.id;
      }
      const result = await this._confirm(secret, params, {elements});
      if (!result.paymentIntent || redirect === "if_required") return result;
      return leaveFor(params.return_url, result.paymentIntent);
    }

    async confirmCardPayment(clientSecret, data = {}, {handleActions = true} = {}) {
      const {payment_method: method, ...params} = data;
      if (typeof method === "string") params.payment_method = method;
      else if (method) {
        const {card, billing_details} = method;
        const made = await this.createPaymentMethod({type: "card", card, billing_details});
        if (made.error) return made;
        params.payment_method = made.paymentMethod.id;
      }
      return this._confirm(clientSecret, params, {handleActions, elements: method?.card?._group});
    }

    async createPaymentMethod({elements, card, billing_details, params = {}}) {
      if (elements && elements._options.mode && !elements._submitted) {
        throw new IntegrationError(notSubmitted("stripe.createPaymentMethod()"));
      }
      const element = elements ? elements._paying() : card;
      if (!element?._host) throw new IntegrationError(MISTAKES.not_ready);
      return this._createMethod(element, {billing_details, ...params});
    }

    async retrievePaymentIntent(clientSecret) {
      const path = `/v1/payment_intents/${this._idOf(clientSecret, "retrievePaymentIntent")}`;
      const {error, body} = await this._call("GET", path, {client_secret: clientSecret});
      return error ? {error} : {paymentIntent: body};
    }

    async handleNextAction({clientSecret}) {
      const {error, paymentIntent} = await this.retrievePaymentIntent(clientSecret);
      return error ? {error} : this._challenge(clientSecret, paymentIntent, this._words);
    }

    async handleCardAction(clientSecret) {
      return this.handleNextAction({clientSecret});
    }

    registerAppInfo() {}

    _registerWrapper() {}

    /** Refuse what Stripe.js throws at; return `{error}` where it answers with one. */
    async _prepare({elements, secret, params, redirect}) {
      if (!params.payment_method) this._checkElements(elements, secret);
      if (!params.return_url && redirect !== "if_required") throw new IntegrationError(MISTAKES.no_return_url);
      if (params.return_url && !URL.canParse(params.return_url)) return {error: urlError()};
      const {error, paymentIntent} = await this.retrievePaymentIntent(secret);
      if (error) return {error};
      const automatic = paymentIntent.automatic_payment_methods;
      if (!params.return_url && automatic?.enabled && automatic.allow_redirects !== "never") {
        throw new IntegrationError(MISTAKES.no_return_url_for_redirects);
      }
      const mismatch = elements?._options.mode && mismatchOf(elements._options, paymentIntent);
      return mismatch ? {error: mismatch} : {paymentIntent};
    }

    _checkElements(elements, secret) {
      const element = elements?._confirming || elements?._made.payment || elements?._made.expressCheckout;
      if (!element?._host) throw new IntegrationError(MISTAKES.not_mounted);
      if (!secret) throw new IntegrationError(MISTAKES.no_secret);
      if (elements._options.mode && !elements._submitted) {
        throw new IntegrationError(notSubmitted("stripe.confirmPayment()"));
      }
      if (!element._ready) throw new IntegrationError(MISTAKES.not_ready);
      const inside = element._type !== "expressCheckout" || elements._confirming;
      if (!inside) throw new IntegrationError(MISTAKES.outside_confirm);
    }

    async _createMethod(element, more) {
      const parts = element._type.startsWith("card") ? element._group._cardElements() : [element];
      const invalid = parts.map((part) => part.validate()).find(Boolean);
      if (invalid) return {error: invalid};
      const {error, body} = await this._call("POST", "/v1/payment_methods", {...more, ...element.details});
      return error ? {error} : {paymentMethod: body};
    }

    async _confirm(clientSecret, params, {handleActions = true, elements} = {}) {
      const words = elements?._words || this._words;
      const path = `/v1/payment_intents/${this._idOf(clientSecret, "confirmCardPayment")}/confirm`;
      const sent = {...params, client_secret: clientSecret, use_stripe_sdk: true};
      const {error, body} = await this._call("POST", path, sent);
      const result = error || !handleActions
        ? {error, paymentIntent: body} : await this._challenge(clientSecret, body, words);
      if (!result.error) return result;
      if (result.error.type === "card_error") elements?._paying()?.mark(result.error.code);
      return {error: translate(result.error, words)};
    }

    async _challenge(clientSecret, paymentIntent, words) {
      if (paymentIntent.status !== "requires_action") return {paymentIntent};
      const elsewhere = paymentIntent.next_action.redirect_to_url;
      if (elsewhere) return goTo(elsewhere.url);
      const succeed = await askCustomer(paymentIntent, words);
      const path = `/_emulator/payment_intents/${paymentIntent.id}/authenticate`;
      const told = await this._tell(path, {succeed, client_secret: clientSecret});
      if (told.error) return told;
      const result = await this.retrievePaymentIntent(clientSecret);
      const failure = result.paymentIntent && result.paymentIntent.last_payment_error;
      return failure ? {error: translate({...failure, payment_intent: result.paymentIntent}, words)} : result;
    }

    _idOf(clientSecret, caller) {
      const id = intentId(clientSecret);
      if (!id) throw new IntegrationError(notASecret(`stripe.${caller} intent secret: value`, clientSecret));
      return id;
    }

    _call(method, path, params) {
      const form = encode(params);
      const url = method === "GET" ? `${BASE}${path}?${form}` : `${BASE}${path}`;
      return this._answerOf(url, {method, headers: this._headers, body: method === "GET" ? null : form});
    }

    _tell(path, message) {
      const headers = {"Content-Type": "application/json"};
      return this._answerOf(`${BASE}${path}`, {method: "POST", headers, body: JSON.stringify(message)});
    }

    async _answerOf(url, request) {
      try {
        const response = await fetch(url, request);
        const body = await response.json();
        return body.error ? {error: body.error} : {body};
      } catch {
        return {error: {type: "api_connection_error", message: this._words.say("api_connection_error")}};
      }
    }
  }

  for (const name of ["createToken", "createSource", "createConfirmationToken", "confirmSetup", "confirmCardSetup",
                      "retrieveSetupIntent", "initEmbeddedCheckout", "initCheckoutElementsSdk", "paymentRequest"]) {
    StripeInstance.prototype[name] = function unsupported() {
      throw new IntegrationError(`The emulator's Stripe.js has no ${name}(); Stripe's own has.`);
    };
  }

  /** Say an API error in the customer's language, as Stripe.js does. */
  function translate(error, words) {
    const message = words.say(error.decline_code) || words.say(error.code);
    return message ? {...error, message} : error;
  }

  /** Go to the return URL, as after a payment method that redirects; never resolves. */
  function leaveFor(returnUrl, intent) {
    const url = new URL(returnUrl, location.href);
    url.searchParams.set("payment_intent", intent.id);
    url.searchParams.set("payment_intent_client_secret", intent.client_secret);
    url.searchParams.set("redirect_status", intent.status === "processing" ? "pending" : "succeeded");
    return goTo(url);
  }

  function goTo(url) {
    location.assign(url);
    return new Promise(() => {});
  }

  /** Show the bank's challenge; resolves to whether the customer completed it. */
  function askCustomer(intent, words) {
    const complete = make("button", {class: "primary", type: "button"}, [words.say("complete")]);
    const fail = make("button", {type: "button"}, [words.say("fail")]);
    const text = words.say("challenge_text").replace("{amount}", amountOf(intent, words));
    const dialog = make("dialog", {"aria-labelledby": "title", lang: words.language}, [
      make("div", {class: "bank"}, [make("span", {}, [words.say("bank")]),
                                    make("span", {}, ["3D Secure"])]),
      make("h2", {id: "title"}, [words.say("challenge")]),
      make("p", {}, [text]),
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

  // Stripe's decimals, which are not Intl's: HUF, COP and IDR have two here and none there.
  const ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split(" ");
  const THREE_DECIMAL = ["bhd", "jod", "kwd", "omr", "tnd"];

  function amountOf({amount, currency}, {locale}) {
    const decimals = ZERO_DECIMAL.includes(currency) ? 0 : THREE_DECIMAL.includes(currency) ? 3 : 2;
    const digits = {minimumFractionDigits: decimals, maximumFractionDigits: decimals};
    const format = new Intl.NumberFormat(locale, {style: "currency", currency, ...digits});
    return format.format(amount / 10 ** decimals);
  }

  window.Stripe = function Stripe(key, options) {
    if (!key) throw new IntegrationError(MISTAKES.no_key);
    if (/^[sr]k_/.test(String(key))) throw new IntegrationError(MISTAKES.secret_key);
    if (!/^pk_test_\w+$/.test(String(key))) {
      throw new IntegrationError("The emulator's Stripe.js takes a publishable test key: pk_test_….");
    }
    return new StripeInstance(key, options);
  };
  window.Stripe.version = RELEASE;
})();
