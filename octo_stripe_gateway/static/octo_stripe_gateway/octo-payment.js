/**
 * `<octo-payment>`: takes the payment for something bookable, from creating it to its confirmation.
 *
 *     <script src="https://js.stripe.com/endive/stripe.js" defer></script>
 *     <script src="{% static 'octo_stripe_gateway/octo-payment.js' %}" type="module"></script>
 *     <octo-payment endpoint="/bookings/payments" payable="booking:7"></octo-payment>
 *
 * Its state, and where each leads:
 *
 *     loading          the payment is created or found, and Stripe's form is on its way
 *     ├── ready        the form is there
 *     │   └── paying          the server says again what is due, and Stripe is asked to take the money
 *     │       ├── ready       the price has changed, it was declined, or the connection was lost: the same form and intent
 *     │       ├── processing  the bank takes its time: the server is asked until it has settled
 *     │       │   ├── paid
 *     │       │   └── ready
 *     │       └── paid
 *     ├── paid         nothing is due
 *     ├── expired      the time to pay is over
 *     └── failed       it can't be paid as things are; the button tries again, unless it was denied
 *
 * Attributes, properties, events and colours are in octo-payment.d.ts.
 */

/**
 * @import {
 *   Appearance, Balance, CreatedPayment, LoadStripe, OctoPaymentDetail, OctoPaymentState, Payment,
 * } from "./octo-payment"
 * @import {
 *   PaymentIntent, Stripe, StripeElements, StripeError, StripePaymentElement,
 * } from "@stripe/stripe-js"
 *
 * @typedef {keyof typeof MESSAGES["en"]} MessageName
 * @typedef {{code: string, message: string}} Failure
 *
 * The state of one run, from loading to its end; the next run starts afresh.
 * @typedef {object} Run
 * @property {AbortSignal} signal
 * @property {Gateway} gateway
 * @property {string} key where the idempotency key is kept
 * @property {Payment} [payment] without the secret, so that events can carry it
 * @property {string} [secret]
 * @property {Stripe} [stripe]
 * @property {StripeElements} [elements]
 */

/** @type {Readonly<Record<string, "paid" | "expired">>} */
const OUTCOMES = {CONFIRMED: "paid", ON_HOLD: "paid", EXPIRED: "expired"};
// Payments that will never be paid and don't stop another one.
const GIVEN_UP = ["CANCELLED", "REFUNDED"];
// Stripe's statuses of intents that can't be paid any more: paid, authorized or canceled.
const ENDED = ["succeeded", "requires_capture", "canceled"];
// Errors that say that no money moved.
const DECLINES = ["card_error", "validation_error"];

// Milliseconds.
const REPEATS = [500, 1500];
const LONGEST_REPEAT = 10_000;
const ANSWER_TIMEOUT = 30_000;
const STRIPE_TIMEOUT = 3000;
const WATCH_FIRST = 1000;
const WATCH_LAST = 30_000;
const LONGEST_TIMER = 2 ** 31 - 1;

const REPEATABLE = [429, 502, 503, 504];
// Query parameters of the address that a bank sends the customer back to: ours, and Stripe's.
const OUR_PARAMETERS = ["octo_payable", "octo_payment"];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const STRIPE_PARAMETERS = ["payment_intent", "payment_intent_client_secret", "redirect_status"];

const MESSAGES = {
  en: {
    label: "Payment",
    loading: "Loading the payment form …",
    pay: "Pay {amount}",
    paying: "Paying …",
    or: "or",
    until: "Reserved for you until {time}.",
    paid: "Your payment is complete. Thank you.",
    processing: "Your payment is on its way. You need not pay again.",
    expired: "The time to pay is over. Nothing was charged.",
    changed: "The price has changed. Check the amount before you pay.",
    returned: "What you paid goes back to you.",
    again: "Try again",
    unsure: "The connection failed before the answer came. Paying again is safe: you are charged only once.",
    unreachable: "The shop can't be reached. Check your connection and try again.",
    blocked: "The payment form could not be loaded. Check your connection and try again.",
    unauthenticated: "Your bank could not make sure that it was you. Try again, or use another card.",
    declined: "The payment was declined. Try another way to pay.",
    unavailable: "The payment is not possible just now. Try again in a moment.",
  },
  de: {
    label: "Zahlung",
    loading: "Das Zahlungsformular wird geladen …",
    pay: "{amount} bezahlen",
    paying: "Wird bezahlt …",
    or: "oder",
    until: "Für Sie reserviert bis {time}.",
    paid: "Ihre Zahlung ist abgeschlossen. Vielen Dank.",
    processing: "Ihre Zahlung ist unterwegs. Sie müssen nicht noch einmal bezahlen.",
    expired: "Die Zeit zum Bezahlen ist abgelaufen. Es wurde nichts abgebucht.",
    changed: "Der Preis hat sich geändert. Prüfen Sie den Betrag, bevor Sie bezahlen.",
    returned: "Was Sie bezahlt haben, geht an Sie zurück.",
    again: "Noch einmal versuchen",
    unsure: "Die Verbindung brach ab, bevor die Antwort kam. Sie können gefahrlos noch einmal bezahlen: Abgebucht wird nur einmal.",
    unreachable: "Der Shop ist nicht erreichbar. Prüfen Sie Ihre Verbindung und versuchen Sie es noch einmal.",
    blocked: "Das Zahlungsformular konnte nicht geladen werden. Prüfen Sie Ihre Verbindung und versuchen Sie es noch einmal.",
    unauthenticated: "Ihre Bank konnte nicht feststellen, dass Sie es sind. Versuchen Sie es noch einmal oder mit einer anderen Karte.",
    declined: "Die Zahlung wurde abgelehnt. Versuchen Sie es auf einem anderen Weg.",
    unavailable: "Die Zahlung ist gerade nicht möglich. Versuchen Sie es gleich noch einmal.",
  },
  es: {
    label: "Pago",
    loading: "Cargando el formulario de pago …",
    pay: "Pagar {amount}",
    paying: "Pagando …",
    or: "o",
    until: "Reservado para usted hasta {time}.",
    paid: "Su pago se ha completado. Gracias.",
    processing: "Su pago está en camino. No es necesario que vuelva a pagar.",
    expired: "El plazo para pagar ha terminado. No se le ha cobrado nada.",
    changed: "El precio ha cambiado. Compruebe el importe antes de pagar.",
    returned: "Lo que ha pagado se le devuelve.",
    again: "Volver a intentarlo",
    unsure: "La conexión falló antes de recibir la respuesta. Puede volver a pagar sin riesgo: solo se le cobra una vez.",
    unreachable: "No se puede contactar con la tienda. Compruebe su conexión e inténtelo de nuevo.",
    blocked: "No se pudo cargar el formulario de pago. Compruebe su conexión e inténtelo de nuevo.",
    unauthenticated: "Su banco no pudo comprobar su identidad. Inténtelo de nuevo o use otra tarjeta.",
    declined: "El pago fue rechazado. Pruebe otra forma de pago.",
    unavailable: "El pago no es posible en este momento. Inténtelo de nuevo dentro de poco.",
  },
  fr: {
    label: "Paiement",
    loading: "Chargement du formulaire de paiement…",
    pay: "Payer {amount}",
    paying: "Paiement en cours…",
    or: "ou",
    until: "Réservé pour vous jusqu’à {time}.",
    paid: "Votre paiement est effectué. Merci.",
    processing: "Votre paiement est en cours. Vous n’avez pas à payer de nouveau.",
    expired: "Le délai de paiement est dépassé. Rien n’a été débité.",
    changed: "Le prix a changé. Vérifiez le montant avant de payer.",
    returned: "Ce que vous avez payé vous est remboursé.",
    again: "Réessayer",
    unsure: "La connexion a échoué avant la réponse. Vous pouvez payer de nouveau sans risque : vous n’êtes débité qu’une fois.",
    unreachable: "La boutique est injoignable. Vérifiez votre connexion et réessayez.",
    blocked: "Le formulaire de paiement n’a pas pu être chargé. Vérifiez votre connexion et réessayez.",
    unauthenticated: "Votre banque n’a pas pu vérifier votre identité. Réessayez ou utilisez une autre carte.",
    declined: "Le paiement a été refusé. Essayez un autre moyen de paiement.",
    unavailable: "Le paiement n’est pas possible pour le moment. Réessayez dans un instant.",
  },
  it: {
    label: "Pagamento",
    loading: "Caricamento del modulo di pagamento …",
    pay: "Paga {amount}",
    paying: "Pagamento in corso …",
    or: "oppure",
    until: "Riservato per Lei fino alle {time}.",
    paid: "Il pagamento è completato. Grazie.",
    processing: "Il pagamento è in corso. Non occorre pagare di nuovo.",
    expired: "Il tempo per pagare è scaduto. Non è stato addebitato nulla.",
    changed: "Il prezzo è cambiato. Controlli l’importo prima di pagare.",
    returned: "Quanto ha pagato Le viene rimborsato.",
    again: "Riprova",
    unsure: "La connessione si è interrotta prima della risposta. Può pagare di nuovo senza rischi: l’addebito avviene una sola volta.",
    unreachable: "Il negozio non è raggiungibile. Controlli la connessione e riprovi.",
    blocked: "Non è stato possibile caricare il modulo di pagamento. Controlli la connessione e riprovi.",
    unauthenticated: "La banca non ha potuto verificare la Sua identità. Riprovi o usi un’altra carta.",
    declined: "Il pagamento è stato rifiutato. Provi un altro metodo di pagamento.",
    unavailable: "Al momento il pagamento non è possibile. Riprovi tra poco.",
  },
  pt: {
    label: "Pagamento",
    loading: "A carregar o formulário de pagamento …",
    pay: "Pagar {amount}",
    paying: "A pagar …",
    or: "ou",
    until: "Reservado para si até {time}.",
    paid: "O seu pagamento está concluído. Obrigado.",
    processing: "O seu pagamento está a caminho. Não precisa de pagar outra vez.",
    expired: "O prazo para pagar terminou. Nada foi cobrado.",
    changed: "O preço mudou. Verifique o montante antes de pagar.",
    returned: "O que pagou é-lhe devolvido.",
    again: "Tentar de novo",
    unsure: "A ligação falhou antes de chegar a resposta. Pode pagar de novo sem risco: só é cobrado uma vez.",
    unreachable: "Não é possível contactar a loja. Verifique a sua ligação e tente de novo.",
    blocked: "Não foi possível carregar o formulário de pagamento. Verifique a sua ligação e tente de novo.",
    unauthenticated: "O seu banco não conseguiu confirmar a sua identidade. Tente de novo ou use outro cartão.",
    declined: "O pagamento foi recusado. Tente outra forma de pagamento.",
    unavailable: "De momento o pagamento não é possível. Tente de novo dentro de instantes.",
  },
  nl: {
    label: "Betaling",
    loading: "Het betaalformulier wordt geladen …",
    pay: "{amount} betalen",
    paying: "Bezig met betalen …",
    or: "of",
    until: "Voor u gereserveerd tot {time}.",
    paid: "Uw betaling is voltooid. Dank u wel.",
    processing: "Uw betaling is onderweg. U hoeft niet nog een keer te betalen.",
    expired: "De tijd om te betalen is voorbij. Er is niets afgeschreven.",
    changed: "De prijs is gewijzigd. Controleer het bedrag voordat u betaalt.",
    returned: "Wat u hebt betaald, krijgt u terug.",
    again: "Opnieuw proberen",
    unsure: "De verbinding viel weg voordat het antwoord kwam. Opnieuw betalen is veilig: er wordt maar één keer afgeschreven.",
    unreachable: "De winkel is niet bereikbaar. Controleer uw verbinding en probeer het opnieuw.",
    blocked: "Het betaalformulier kon niet worden geladen. Controleer uw verbinding en probeer het opnieuw.",
    unauthenticated: "Uw bank kon niet vaststellen dat u het bent. Probeer het opnieuw of gebruik een andere kaart.",
    declined: "De betaling is geweigerd. Probeer een andere betaalwijze.",
    unavailable: "Betalen is op dit moment niet mogelijk. Probeer het zo dadelijk opnieuw.",
  },
  ja: {
    label: "お支払い",
    loading: "お支払いフォームを読み込んでいます…",
    pay: "{amount} を支払う",
    paying: "お支払い中…",
    or: "または",
    until: "{time} まで確保されています。",
    paid: "お支払いが完了しました。ありがとうございます。",
    processing: "お支払いを処理しています。もう一度お支払いいただく必要はありません。",
    expired: "お支払い期限が過ぎました。請求は発生していません。",
    changed: "料金が変更されました。金額をご確認のうえお支払いください。",
    returned: "お支払いいただいた金額は返金されます。",
    again: "もう一度試す",
    unsure: "応答が届く前に接続が切れました。もう一度お支払いいただいても、請求は一度だけです。",
    unreachable: "ショップに接続できません。接続を確認して、もう一度お試しください。",
    blocked: "お支払いフォームを読み込めませんでした。接続を確認して、もう一度お試しください。",
    unauthenticated: "銀行でご本人確認ができませんでした。もう一度お試しになるか、別のカードをご利用ください。",
    declined: "お支払いが承認されませんでした。別のお支払い方法をお試しください。",
    unavailable: "ただいまお支払いいただけません。しばらくしてからもう一度お試しください。",
  },
};

const STYLE = `
  :host {
    --_accent: var(--octo-payment-accent, light-dark(#0b5cad, #8ec5ff));
    --_on-accent: var(--octo-payment-on-accent, light-dark(#fff, #06213c));
    --_text: var(--octo-payment-text, light-dark(#1f2933, #e8edf2));
    --_muted: var(--octo-payment-muted, light-dark(#52606d, #aab6c2));
    --_background: var(--octo-payment-background, light-dark(#fff, #1b232c));
    --_border: var(--octo-payment-border, light-dark(#8894a0, #6b7885));
    --_danger: var(--octo-payment-danger, light-dark(#b3261e, #ffa39a));
    --_radius: var(--octo-payment-radius, 8px);
    display: block;
    color: var(--_text);
  }
  :host([hidden]), [hidden] { display: none !important; }
  *, *::before, *::after { box-sizing: border-box; }
  [part="probe"] {
    position: absolute; visibility: hidden; border: 0 solid var(--_border); border-radius: var(--_radius);
    outline-color: var(--_danger); background: var(--_background); color: var(--_text);
    caret-color: var(--_accent); text-decoration-color: var(--_muted);
  }
  [part="express"] { margin-bottom: 1rem; }
  [part="or"] { display: flex; gap: .75rem; align-items: center; margin: 1rem 0 0; color: var(--_muted); }
  [part="or"]::before, [part="or"]::after { content: ""; flex: 1; border-top: 1px solid var(--_border); }
  [part="form"] { display: grid; }
  [part="form"] > * { grid-area: 1 / 1; min-width: 0; }
  /* Stripe's frames are made for a light canvas; another scheme gives them an opaque one. */
  ::slotted(form) { margin: 0; color-scheme: light; }
  :host([state="loading"]) ::slotted(form) { visibility: hidden; }
  [part="skeleton"] {
    display: none; grid-template-columns: 1fr 1fr; gap: 2.1rem .75rem; align-content: start; padding-top: 1.6rem;
  }
  :host([state="loading"]) [part="skeleton"] { display: grid; }
  [part="skeleton"] i {
    height: 2.75rem; border-radius: var(--_radius);
    background: color-mix(in srgb, var(--_muted) 22%, transparent); animation: breathe 1.6s ease-in-out infinite;
  }
  [part="skeleton"] i:is(:first-child, :last-child) { grid-column: 1 / -1; }
  @keyframes breathe { 50% { opacity: .5; } }
  [part="until"] { margin: 1rem 0 0; color: var(--_muted); font-size: .875em; }
  [part="until"]:empty, [part="error"]:empty { display: none; }
  [part="button"] {
    display: flex; gap: .6em; align-items: center; justify-content: center;
    width: 100%; min-height: 3rem; margin: 1rem 0 0; padding: .625rem 1.25rem;
    border: 1px solid var(--_accent); border-radius: var(--_radius);
    background: var(--_accent); color: var(--_on-accent);
    font: inherit; font-weight: 600; cursor: pointer;
  }
  [part="button"]:focus-visible { outline: 3px solid var(--_accent); outline-offset: 3px; }
  [part="button"][aria-disabled="true"] { cursor: progress; opacity: .75; }
  :host([state="paying"]) [part="button"]::after {
    content: ""; width: 1em; height: 1em; border: 2px solid currentcolor; border-right-color: transparent;
    border-radius: 50%; animation: turn .8s linear infinite;
  }
  @keyframes turn { to { transform: rotate(1turn); } }
  [part="error"], [part="status"] { margin: 1rem 0 0; padding: .75rem 1rem; border-radius: var(--_radius); }
  [part="error"] {
    border: 1px solid var(--_danger); color: var(--_danger); font-weight: 600;
    background: color-mix(in srgb, var(--_danger) 7%, var(--_background));
  }
  [part="status"] { border: 1px solid var(--_border); background: var(--_background); }
  :host([state="paid"]) [part="status"]::before { content: "✓ " / ""; color: var(--_accent); font-weight: 700; }
  [part="error"]:focus, [part="status"]:focus { outline: none; }
  [part="error"]:focus-visible, [part="status"]:focus-visible { outline: 2px solid currentcolor; outline-offset: 2px; }
  :host(:is([state="loading"], [state="ready"], [state="paying"], [state="failed"])) [part="status"] {
    position: absolute; width: 1px; height: 1px; margin: 0; padding: 0; overflow: hidden; border: 0;
    clip-path: inset(50%); white-space: nowrap;
  }
  :host(:is([state="paid"], [state="processing"], [state="expired"]))
    :is([part="express"], [part="form"], [part="until"], [part="button"]),
  :host([state="failed"]) :is([part="express"], [part="form"], [part="until"]),
  :host([state="loading"]) :is([part="button"], [part="express"]) { display: none; }
  :host(:is([state="paid"], [state="processing"], [state="expired"])) [part="status"],
  :host([state="failed"]) [part="error"] { margin-top: 0; }
  @media (prefers-reduced-motion: reduce) { *, *::after { animation-duration: 6s !important; } }
`;

/** The server's answer is an error. */
class GatewayError extends Error {
  /**
   * @param {number} status
   * @param {{error?: string, errorMessage?: string, balance?: Balance, utcExpiresAt?: string}} answer
   * @param {number} pause milliseconds after which a repeat may work, NaN if the server gave none
   */
  constructor(status, answer, pause) {
    super(answer.errorMessage);
    this.status = status;
    this.answer = answer;
    this.pause = pause;
  }
}

/** No answer came: the work may be done or not. */
class LostError extends Error {}

/** Stripe's form can't be shown; the message is for the customer. */
class FormError extends Error {}

// The server.

/** Calls the payment API as the page's visitor. */
class Gateway {
  /** @param {OctoPayment} element @param {AbortSignal} signal */
  constructor(element, signal) {
    this.endpoint = element.endpoint.replace(/\/$/, "");
    this.element = element;
    this.signal = signal;
    // How far the server's clock is ahead of the customer's, which may be wrong: a hold lasts only minutes.
    this.ahead = 0;
  }

  /** The server's time in milliseconds. */
  now() {
    return Date.now() + this.ahead;
  }

  /**
   * @param {object} body
   * @param {string} key
   * @returns {Promise<CreatedPayment>}
   */
  create(body, key) {
    return this.#call("POST", this.endpoint, {body, key});
  }

  /** @param {string} uuid @returns {Promise<Payment>} */
  complete(uuid) {
    return this.#call("PATCH", `${this.endpoint}/${encodeURIComponent(uuid)}/complete`);
  }

  /**
   * Call, and repeat if that may help: both of the API's calls used here are safe to repeat.
   *
   * @param {string} method
   * @param {string} url
   * @param {{body?: object, key?: string}} [options]
   */
  async #call(method, url, options = {}) {
    for (const pause of REPEATS) {
      try {
        return await this.#callOnce(method, url, options);
      } catch (problem) {
        const wait = getPause(problem, pause);
        if (wait > LONGEST_REPEAT) throw problem;
        await sleep(wait, this.signal);
      }
    }
    return this.#callOnce(method, url, options);
  }

  /** @param {string} method @param {string} url @param {{body?: object, key?: string}} options */
  async #callOnce(method, url, {body, key}) {
    const headers = {...this.#getHeaders(url), ...(key && {"Idempotency-Key": key})};
    const signal = AbortSignal.any([this.signal, AbortSignal.timeout(ANSWER_TIMEOUT)]);
    const request = {method, headers, signal, body: body && JSON.stringify(body)};
    const response = await fetch(url, request).catch(() => null);
    this.signal.throwIfAborted();
    const answer = await response?.json().catch(() => response.ok ? null : {});
    this.signal.throwIfAborted();
    if (!response || !answer) throw new LostError();
    this.ahead = Date.parse(response.headers.get("Date") ?? "") - Date.now() || 0;
    if (!response.ok) {
      throw new GatewayError(response.status, answer, Number(response.headers.get("Retry-After") ?? NaN) * 1000);
    }
    return answer;
  }

  /** @param {string} url @returns {Record<string, string>} */
  #getHeaders(url) {
    const {element} = this;
    const ours = new URL(url, document.baseURI).origin === location.origin;
    const token = ours && (element.getAttribute("csrf-token") || readCookie("csrftoken"));
    return {
      "Accept-Language": element.language,
      "Content-Type": "application/json",
      ...(token && {"X-CSRFToken": token}),
      ...(element.token && {Authorization: `Bearer ${element.token}`}),
    };
  }
}

/**
 * Return the milliseconds to wait before a repeat, or Infinity if it is of no use.
 *
 * @param {unknown} problem
 * @param {number} usual
 */
function getPause(problem, usual) {
  if (problem instanceof LostError) return usual;
  if (problem instanceof GatewayError && REPEATABLE.includes(problem.status)) return problem.pause || usual;
  return Infinity;
}

/** @param {string} name */
function readCookie(name) {
  const found = document.cookie.split("; ").find((each) => each.startsWith(`${name}=`));
  return found ? decodeURIComponent(found.slice(name.length + 1)) : "";
}

// The idempotency key, kept across reloads so that they find the same payment.

/** @type {Map<string, string>} */
const keysWithoutStorage = new Map();

/** @param {string} name */
function getKey(name) {
  const key = readStorage(name) || keysWithoutStorage.get(name) || makeKey();
  keysWithoutStorage.set(name, key);
  try {
    sessionStorage.setItem(name, key);
  } catch {
    // Storage may be forbidden: then a reload makes another key.
  }
  return key;
}

/** @param {string} name */
function readStorage(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

/** @param {string} name */
function forgetKey(name) {
  keysWithoutStorage.delete(name);
  try {
    sessionStorage.removeItem(name);
  } catch {
    // Nothing was stored.
  }
}

function makeKey() {
  // crypto.randomUUID exists on HTTPS only.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Waiting.

/**
 * Wait for a promise that can't be aborted; rejects when the run ends first.
 *
 * @template T
 * @param {AbortSignal} signal
 * @param {Promise<T>} promise
 * @returns {Promise<T>}
 */
function within(signal, promise) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** @param {number} milliseconds @param {AbortSignal} signal @returns {Promise<void>} */
function sleep(milliseconds, signal) {
  return within(signal, new Promise((resolve) => { setTimeout(resolve, milliseconds); }));
}

/** Wait for the page's own Stripe.js. @type {LoadStripe} */
async function findStripe(key, options) {
  for (let late = 0; !window.Stripe && late < STRIPE_TIMEOUT; late += 50) {
    await new Promise((resolve) => { setTimeout(resolve, 50); });
    // A page that is still loading may yet load Stripe.js: don't count that time.
    if (document.readyState !== "complete") late = 0;
  }
  return window.Stripe ? window.Stripe(key, options) : null;
}

// The address.

/** Remove these parameters from it. @param {string[]} names */
function forgetParameters(names) {
  const url = new URL(location.href);
  for (const name of names) url.searchParams.delete(name);
  history.replaceState(history.state, "", url);
}

// The look.

/** Return a colour as Stripe takes it: hexadecimal. @param {string} color */
function toHex(color) {
  const canvas = new OffscreenCanvas(1, 1);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return `#${[red, green, blue].map((each) => each.toString(16).padStart(2, "0")).join("")}`;
}

/** @param {string} hex */
function isDark(hex) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return red * 0.299 + green * 0.587 + blue * 0.114 < 128;
}

/** @param {Payment} payment @param {string} locale */
function formatMoney({amount, currency, currencyPrecision}, locale) {
  const format = new Intl.NumberFormat(locale, {
    style: "currency",
    currency,
    minimumFractionDigits: currencyPrecision,
    maximumFractionDigits: currencyPrecision,
  });
  return format.format(amount / 10 ** currencyPrecision);
}

/** @param {number} moment @param {string} locale */
function formatTime(moment, locale) {
  const today = new Date(moment).toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(locale, {timeStyle: "short", dateStyle: today ? undefined : "medium"}).format(moment);
}

/** Make what the element shows, without innerHTML: a page's Trusted Types may forbid it. */
function makeParts() {
  const skeleton = make("div", "skeleton", {"aria-hidden": "true"}, [1, 2, 3, 4].map(() => make("i")));
  const or = make("div", "or");
  const express = make("div", "express", {}, [make("slot", "", {name: "express"}), or]);
  const form = make("div", "form", {}, [skeleton, make("slot", "", {name: "payment"})]);
  const probe = make("span", "probe");
  const until = make("p", "until");
  const error = make("p", "error", {role: "alert", tabindex: "-1"});
  const button = make("button", "button", {type: "button"});
  const status = make("p", "status", {role: "status", tabindex: "-1"});
  const body = make("div", "body", {role: "group"}, [probe, express, form, until, error, button, status]);
  return {body, probe, express, or, until, error, button, status};
}

/** @param {string} tag @param {string} part @param {Record<string, string>} attributes @param {Node[]} children */
function make(tag, part = "", attributes = {}, children = []) {
  const node = document.createElement(tag);
  if (part) node.setAttribute("part", part);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export class OctoPayment extends HTMLElement {
  static observedAttributes = ["endpoint", "payable", "purpose", "express", "locale"];

  /** @type {OctoPaymentState} */
  #state = "loading";
  /** @type {Run | null} */
  #run = null;
  #end = new AbortController();
  #changing = false;
  // Whether the customer has begun to pay here: from then on focus follows the outcome.
  #engaged = false;
  #token = "";
  /** @type {Appearance} */
  #appearance = {};
  #parts = makeParts();
  // Stripe's frames can't be in a shadow tree: these are the element's children, shown in its slots.
  #form = document.createElement("form");
  #wallets = document.createElement("div");

  constructor() {
    super();
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    const root = this.attachShadow({mode: "open"});
    root.adoptedStyleSheets = [sheet];
    root.append(this.#parts.body);
    this.#form.slot = "payment";
    this.#wallets.slot = "express";
    this.#form.addEventListener("submit", (event) => this.#submit(event));
    this.#parts.button.addEventListener("click", () => this.#press());
    this.loadStripe = this.loadStripe ?? findStripe;
    this.paymentOptions = this.paymentOptions ?? {};
    this.expressOptions = this.expressOptions ?? {};
    this.#adopt("token");
    this.#adopt("appearance");
  }

  // What the page says.

  get endpoint() {
    return this.getAttribute("endpoint") ?? "";
  }

  set endpoint(url) {
    this.setAttribute("endpoint", url);
  }

  get payable() {
    return this.getAttribute("payable") ?? "";
  }

  set payable(payable) {
    this.setAttribute("payable", payable);
  }

  get purpose() {
    return this.getAttribute("purpose") ?? "";
  }

  set purpose(purpose) {
    this.setAttribute("purpose", purpose);
  }

  get token() {
    return this.#token;
  }

  set token(token) {
    this.#token = token;
    this.#change();
  }

  get appearance() {
    return this.#appearance;
  }

  set appearance(appearance) {
    this.#appearance = appearance ?? {};
    this.#restyle();
  }

  get state() {
    return this.#state;
  }

  get payment() {
    return this.#run?.payment ?? null;
  }

  /** The language of everything shown: the page's if there are messages in it. */
  get language() {
    return this.#locale.split("-")[0];
  }

  connectedCallback() {
    this.append(this.#wallets, this.#form);
    this.#enter("loading");
    this.#change();
    window.addEventListener("pageshow", this.#revive);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.#restyle);
  }

  disconnectedCallback() {
    this.#finishRun();
    this.#wallets.remove();
    this.#form.remove();
    window.removeEventListener("pageshow", this.#revive);
    matchMedia("(prefers-color-scheme: dark)").removeEventListener("change", this.#restyle);
  }

  /** @param {string} name @param {string | null} before @param {string | null} now */
  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    if (name === "locale") this.#relabel();
    else this.#change();
  }

  /** Take over a property that was set before the element was defined. @param {"token" | "appearance"} name */
  #adopt(name) {
    if (!Object.hasOwn(this, name)) return;
    const value = /** @type {any} */ (this)[name];
    delete (/** @type {any} */ (this)[name]);
    /** @type {any} */ (this)[name] = value;
  }

  /** Restart, once for all attributes that change together. */
  #change() {
    if (this.#changing) return;
    this.#changing = true;
    queueMicrotask(() => {
      this.#changing = false;
      if (this.isConnected) this.restart();
    });
  }

  /** Restart a page that the browser restored as the customer left it. @param {PageTransitionEvent} event */
  #revive = (event) => {
    if (event.persisted) this.restart();
  };

  // One run after another.

  /** Start over: find the payment again, and make Stripe's form anew. */
  restart() {
    this.#begin(null);
  }

  /** Pay, as the button does. */
  async pay() {
    const run = this.#run;
    if (run && this.#state === "ready") await this.#perform(run, () => this.#pay(run));
  }

  /** @param {Failure | null} failure what to show once the form is there */
  #begin(failure) {
    this.#finishRun();
    this.#enter("loading");
    if (!this.endpoint || !this.payable) return;
    this.#end = new AbortController();
    const {signal} = this.#end;
    const key = `octo-payment ${this.endpoint} ${this.payable} ${this.purpose}`;
    const run = {signal, gateway: new Gateway(this, signal), key};
    this.#run = run;
    this.#perform(run, () => this.#load(run, failure));
  }

  #finishRun() {
    this.#end.abort();
    this.#run = null;
    this.#form.replaceChildren();
    this.#wallets.replaceChildren();
    this.#parts.express.hidden = true;
  }

  /** Do a run's work, and show what went wrong. @param {Run} run @param {() => Promise<unknown>} work */
  async #perform(run, work) {
    try {
      await work();
    } catch (problem) {
      if (!run.signal.aborted) this.#giveUp(run, problem);
    }
  }

  // Loading: the payment, then Stripe's form for it.

  /** @param {Run} run @param {Failure | null} failure */
  async #load(run, failure) {
    const returned = await this.#takeReturn(run);
    if (returned && this.#conclude(run, returned)) return;
    const payment = await this.#obtain(run);
    if (!payment || this.#conclude(run, payment)) return;
    await this.#open(run, payment);
    const reason = failure ?? returned?.failure;
    if (reason && this.#state === "ready") this.#decline(run, this.#translate(reason));
  }

  /** Complete the payment that the customer comes back from a bank with. @param {Run} run */
  async #takeReturn(run) {
    const url = new URL(location.href);
    const uuid = url.searchParams.get("octo_payment") ?? "";
    if (url.searchParams.get("octo_payable") !== this.payable) return null;
    forgetParameters(OUR_PARAMETERS);
    // Anyone can make up an address: only a payment for this payable counts, and nothing else is called.
    if (!UUID.test(uuid)) return null;
    const payment = await this.#complete(run, uuid).catch(ignoreUnknown);
    const {type, id} = payment?.payable ?? {};
    return `${type}:${id}` === this.payable ? payment : null;
  }

  /** Create the payment or find it; null if that ended the run. @param {Run} run */
  async #obtain(run) {
    for (;;) {
      try {
        return await this.#create(run);
      } catch (problem) {
        if (!(problem instanceof GatewayError)) throw problem;
        // Refused for good, perhaps because of the key: the next try uses another.
        if (problem.status === 422) forgetKey(run.key);
        if (this.#concludeRefusal(run, problem)) return null;
        if (problem.status !== 409) throw problem;
        // A 409 with a balance: it is being paid. Without: another tab is creating the payment just now.
        if (problem.answer.balance) this.#enterProcessing();
        await sleep(Math.min(problem.pause || WATCH_FIRST, LONGEST_REPEAT), run.signal);
      }
    }
  }

  /** @param {Run} run */
  #create(run) {
    const [type, ...id] = this.payable.split(":");
    const body = {payable: {type, id: id.join(":")}, ...(this.purpose && {purpose: this.purpose})};
    return run.gateway.create(body, getKey(run.key));
  }

  /** @param {Run} run @param {GatewayError} refusal */
  #concludeRefusal(run, {status, answer}) {
    // Except in a 409, a balance means that all is paid: the whole price, or the part that `purpose` names.
    const paid = status !== 409 && Boolean(answer.balance);
    const late = Date.parse(answer.utcExpiresAt ?? "") < run.gateway.now();
    if (paid || late) this.#finish(run, paid ? "paid" : "expired", null, answer.balance);
    return paid || late;
  }

  /** @param {Run} run @param {CreatedPayment} created */
  async #open(run, {stripeClientSecret, ...payment}) {
    run.payment = payment;
    run.secret = stripeClientSecret;
    run.stripe = await this.#getStripe(run, payment);
    const {status} = await this.#look(run);
    if (ENDED.includes(status)) await this.#settle(run);
    else if (status === "processing") await this.#watch(run);
    else await this.#mount(run);
  }

  /** @param {Run} run @param {Payment} payment */
  async #getStripe(run, {publishableKey, stripeAccount}) {
    const options = {locale: this.#stripeLocale, ...(stripeAccount && {stripeAccount})};
    const stripe = await within(run.signal, this.loadStripe(publishableKey ?? "", options));
    if (!stripe) throw new FormError(this.#say("blocked"));
    return stripe;
  }

  /** Ask Stripe how the intent stands. @param {Run} run @returns {Promise<PaymentIntent>} */
  async #look(run) {
    const {stripe, secret} = /** @type {Required<Run>} */ (run);
    const {paymentIntent, error} = await within(run.signal, stripe.retrievePaymentIntent(secret));
    if (!paymentIntent) throw new FormError(error?.message || this.#say("blocked"));
    return paymentIntent;
  }

  /** @param {Run} run */
  async #mount(run) {
    const {stripe, payment, secret} = /** @type {Required<Run>} */ (run);
    run.elements = stripe.elements({
      clientSecret: secret,
      appearance: /** @type {any} */ (this.#getAppearance()),
      locale: this.#stripeLocale,
    });
    const element = run.elements.create("payment", this.paymentOptions);
    if (this.hasAttribute("express")) this.#mountExpress(run);
    await within(run.signal, mountElement(element, this.#form));
    this.#enter("ready");
    if (this.shadowRoot?.activeElement === this.#parts.status) element.focus();
    this.#armExpiry(run);
    this.#tell("ready", {payment});
  }

  /** @param {Run} run */
  #mountExpress(run) {
    const {elements} = /** @type {Required<Run>} */ (run);
    const express = elements.create("expressCheckout", this.expressOptions);
    express.on("ready", ({availablePaymentMethods}) => {
      this.#parts.express.hidden = !availablePaymentMethods;
    });
    express.on("confirm", async (event) => {
      await this.pay();
      if (this.#state === "ready" || this.#state === "failed") event.paymentFailed({reason: "fail"});
    });
    express.mount(this.#wallets);
  }

  // Paying.

  #press() {
    this.#engaged = true;
    if (this.#state === "failed") this.restart();
    else this.#form.requestSubmit();
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    // Hide it from a form of the page around this one.
    event.stopPropagation();
    this.#engaged = true;
    this.pay();
  }

  /** @param {Run} run */
  async #pay(run) {
    const {elements} = /** @type {Required<Run>} */ (run);
    this.#enter("paying");
    const {error: mistake} = await within(run.signal, elements.submit());
    if (mistake) {
      // Stripe says so at the field.
      this.#enter("ready");
      elements.getElement("payment")?.focus();
      return;
    }
    if (!(await this.#isCurrent(run))) return;
    const {error, paymentIntent} = await this.#confirm(run);
    if (error && DECLINES.includes(error.type)) this.#decline(run, this.#describe(error));
    else if (paymentIntent && !ENDED.includes(paymentIntent.status)) await this.#watch(run);
    else await this.#settle(run, error);
  }

  /** Tell whether what is shown is still due; otherwise show what is. @param {Run} run */
  async #isCurrent(run) {
    const {elements, payment, secret} = /** @type {Required<Run>} */ (run);
    const current = await this.#obtain(run);
    if (!current || this.#conclude(run, current)) return false;
    const {stripeClientSecret, ...due} = current;
    const failure = due.amount === payment.amount ? null : {code: "price_changed", message: this.#say("changed")};
    if (stripeClientSecret !== secret || this.#state !== "paying") {
      this.#begin(failure);
      return false;
    }
    if (!failure) return true;
    run.payment = due;
    await within(run.signal, elements.fetchUpdates());
    this.#decline(run, failure);
    return false;
  }

  /** @param {Run} run @returns {Promise<{error?: StripeError, paymentIntent?: PaymentIntent}>} */
  #confirm(run) {
    const {stripe, elements, payment} = /** @type {Required<Run>} */ (run);
    const confirmParams = {return_url: this.#getReturnUrl(payment)};
    return within(run.signal, stripe.confirmPayment({elements, confirmParams, redirect: "if_required"}));
  }

  /** @param {Payment} payment */
  #getReturnUrl({uuid}) {
    const url = new URL(this.getAttribute("return-url") ?? location.href, document.baseURI);
    url.searchParams.set("octo_payable", this.payable);
    url.searchParams.set("octo_payment", uuid);
    return url.href;
  }

  /** Have the server ask Stripe for the outcome. @param {Run} run @param {StripeError} [error] Stripe.js's */
  async #settle(run, error) {
    const {payment} = /** @type {Required<Run>} */ (run);
    const current = await this.#complete(run, payment.uuid);
    if (this.#conclude(run, current)) return;
    if (!error || (await this.#look(run)).status === "processing") await this.#watch(run);
    else this.#decline(run, this.#describe(error));
  }

  /** Complete a payment; where that is refused, the host sends the money back. @param {Run} run @param {string} uuid */
  async #complete(run, uuid) {
    try {
      return await run.gateway.complete(uuid);
    } catch (problem) {
      if (problem instanceof GatewayError && problem.status === 422) {
        problem.answer.errorMessage = [problem.message, this.#say("returned")].join(" ");
      }
      throw problem;
    }
  }

  /** Ask until the bank has decided. @param {Run} run */
  async #watch(run) {
    const {payment} = /** @type {Required<Run>} */ (run);
    this.#enterProcessing();
    for (let pause = WATCH_FIRST; ; pause = Math.min(pause * 1.5, WATCH_LAST)) {
      await sleep(pause, run.signal);
      const current = await this.#complete(run, payment.uuid).catch(ignoreOutage);
      if (!current || current.status === "PENDING") continue;
      if (!this.#conclude(run, current)) this.#begin(current.failure);
      return;
    }
  }

  // The outcome.

  /** End the run if the payment has ended, and tell whether it has. @param {Run} run @param {Payment} payment */
  #conclude(run, payment) {
    const outcome = OUTCOMES[payment.status];
    const givenUp = GIVEN_UP.includes(payment.status);
    if (outcome) this.#finish(run, outcome, payment, payment.balance);
    if (givenUp) {
      forgetKey(run.key);
      this.restart();
    }
    return Boolean(outcome) || givenUp;
  }

  /**
   * @param {Run} run
   * @param {"paid" | "expired"} outcome
   * @param {Payment | null} payment
   * @param {Balance | null} [balance]
   */
  #finish(run, outcome, payment, balance = null) {
    forgetKey(run.key);
    this.#enter(outcome);
    this.#finishRun();
    this.#tell(outcome, {payment, balance});
  }

  #enterProcessing() {
    if (this.#state === "processing") return;
    this.#enter("processing");
    this.#tell("processing", {payment: this.payment});
  }

  /** Keep the form, for another try with the same intent. @param {Run} run @param {Failure} failure */
  #decline(run, failure) {
    this.#enter("ready", failure.message);
    this.#tell("failed", {payment: run.payment ?? null, error: failure});
  }

  /** @param {Run} run @param {unknown} problem */
  #giveUp(run, problem) {
    const unsure = this.#state === "paying" && (problem instanceof LostError || isOutage(problem));
    const failure = this.#explain(problem, unsure);
    this.#enter(unsure ? "ready" : "failed", failure.message);
    this.#parts.button.hidden = isDenied(problem);
    this.#tell("failed", {payment: run.payment ?? null, error: failure});
    const expected = [GatewayError, LostError, FormError].some((kind) => problem instanceof kind);
    if (!expected) reportError(problem);
  }

  /** @param {unknown} problem @param {boolean} unsure whether money may have moved @returns {Failure} */
  #explain(problem, unsure) {
    if (unsure) return {code: "connection_lost", message: this.#say("unsure")};
    if (problem instanceof LostError) return {code: "connection_lost", message: this.#say("unreachable")};
    if (problem instanceof FormError) return {code: "form_unavailable", message: problem.message};
    const answer = problem instanceof GatewayError ? problem.answer : {};
    return {code: answer.error ?? "unexpected", message: answer.errorMessage || this.#say("unavailable")};
  }

  /** @param {StripeError} error @returns {Failure} */
  #describe({type, code, decline_code, message}) {
    const words = {
      payment_intent_authentication_failure: this.#say("unauthenticated"),
      api_connection_error: this.#say("unsure"),
    };
    const known = /** @type {Record<string, string | undefined>} */ (words)[code ?? type];
    return {code: decline_code ?? code ?? type, message: known ?? message ?? this.#say("declined")};
  }

  /** Replace Stripe's English reasons in other languages; the host's words stay. @param {Failure} failure */
  #translate({code, message}) {
    if (code === "payment_intent_authentication_failure") return {code, message: this.#say("unauthenticated")};
    const ours = ["refused", "rejected"].includes(code) || this.language === "en";
    return {code, message: (ours && message) || this.#say("declined")};
  }

  /** @param {Run} run */
  #armExpiry(run) {
    const left = Date.parse(run.payment?.utcExpiresAt ?? "") - run.gateway.now();
    if (!(left < LONGEST_TIMER)) return;
    const timer = setTimeout(() => this.#perform(run, () => this.#expire(run)), Math.max(left, 0));
    run.signal.addEventListener("abort", () => clearTimeout(timer));
  }

  /** End the time to pay; the server decides on a payment that is just being made. @param {Run} run */
  async #expire(run) {
    const {payment} = /** @type {Required<Run>} */ (run);
    while (this.#state === "paying") await sleep(WATCH_FIRST, run.signal);
    if (this.#state !== "ready") return;
    this.#enter("loading");
    const current = await this.#complete(run, payment.uuid).catch(ignoreOutage);
    if (!current || !this.#conclude(run, current)) this.#finish(run, "expired", current ?? payment);
  }

  // What is shown.

  /** @param {OctoPaymentState} state @param {string} [error] */
  #enter(state, error = "") {
    const focused = this.#hasFocus();
    this.#state = state;
    this.setAttribute("state", state);
    this.#parts.button.hidden = false;
    this.#render();
    this.#parts.error.textContent = error;
    const formStays = state === "ready" || state === "paying";
    if (focused && error) this.#parts.error.focus();
    else if (focused && !formStays) this.#parts.status.focus();
  }

  /** Tell whether the focus is here, or was until a bank's dialog took it and closed. */
  #hasFocus() {
    const lost = !document.activeElement || document.activeElement === document.body;
    return this.matches(":focus-within") || (this.#engaged && lost);
  }

  #render() {
    const {body, or, until, button, status} = this.#parts;
    const state = this.#state;
    const payment = this.#run?.payment;
    body.lang = this.language;
    body.setAttribute("aria-label", this.#say("label"));
    body.setAttribute("aria-busy", String(state === "loading" || state === "paying"));
    or.textContent = this.#say("or");
    until.textContent = this.#getReservation();
    button.setAttribute("aria-disabled", String(state === "paying"));
    button.textContent = this.#say(state === "failed" ? "again" : state === "paying" ? "paying" : "pay", {
      amount: payment ? formatMoney(payment, this.#locale) : "",
    });
    status.textContent = state === "ready" || state === "failed" ? "" : this.#say(state);
  }

  #getReservation() {
    const until = Date.parse(this.#run?.payment?.utcExpiresAt ?? "");
    return until ? this.#say("until", {time: formatTime(until, this.#locale)}) : "";
  }

  #relabel() {
    this.#render();
    this.#run?.elements?.update({locale: this.#stripeLocale});
  }

  #restyle = () => {
    this.#run?.elements?.update({appearance: /** @type {any} */ (this.#getAppearance())});
  };

  /** Return this element's own look for Stripe's form. @returns {Appearance} */
  #getAppearance() {
    const style = getComputedStyle(this.#parts.probe);
    const background = toHex(style.backgroundColor);
    const own = this.#appearance;
    return {
      theme: isDark(background) ? "night" : "stripe",
      ...own,
      variables: {
        colorPrimary: toHex(style.caretColor),
        colorBackground: background,
        colorText: toHex(style.color),
        colorTextSecondary: toHex(style.textDecorationColor),
        colorDanger: toHex(style.outlineColor),
        borderRadius: style.borderTopLeftRadius,
        fontFamily: style.fontFamily,
        fontSizeBase: style.fontSize,
        ...own.variables,
      },
    };
  }

  /** The language with its country, for numbers and times. */
  get #locale() {
    const asked = this.getAttribute("locale") || this.closest("[lang]")?.getAttribute("lang") || navigator.language;
    const [language, ...country] = asked.split(/[-_]/);
    return language.toLowerCase() in MESSAGES ? [language.toLowerCase(), ...country].join("-") : "en";
  }

  /** The language for Stripe's form: the page's own choice as it is, since Stripe knows more languages. */
  get #stripeLocale() {
    return /** @type {any} */ (this.getAttribute("locale") || this.language);
  }

  /** @param {MessageName} name @param {Record<string, string>} [values] */
  #say(name, values = {}) {
    const messages = MESSAGES[/** @type {keyof typeof MESSAGES} */ (this.language)];
    return messages[name].replace(/\{(\w+)\}/g, (_whole, value) => values[value]);
  }

  /** @param {string} event @param {Partial<OctoPaymentDetail>} detail */
  #tell(event, detail) {
    const full = {payment: null, balance: null, error: null, ...detail};
    this.dispatchEvent(new CustomEvent(`octo-payment-${event}`, {bubbles: true, composed: true, detail: full}));
  }
}

/**
 * Mount Stripe's form, and wait until it can be used.
 *
 * @param {StripePaymentElement} element
 * @param {HTMLElement} parent
 * @returns {Promise<void>}
 */
function mountElement(element, parent) {
  return new Promise((resolve, reject) => {
    element.on("ready", () => resolve());
    element.on("loaderror", ({error}) => reject(new FormError(error.message)));
    element.mount(parent);
  });
}

/** Tell whether the server is only away for a while. @param {unknown} problem */
function isOutage(problem) {
  return problem instanceof GatewayError && (problem.status >= 500 || problem.status === 429);
}

/** Tell whether the same request will never be allowed. @param {unknown} problem */
function isDenied(problem) {
  return problem instanceof GatewayError && [400, 401, 403, 404].includes(problem.status);
}

/** Ignore an outage, for calls that are repeated anyway. @param {unknown} problem @returns {null} */
function ignoreOutage(problem) {
  if (problem instanceof LostError || isOutage(problem)) return null;
  throw problem;
}

/** Ignore that a payment isn't there, or isn't the visitor's. @param {unknown} problem @returns {null} */
function ignoreUnknown(problem) {
  // By its code: with `STRICT_OCTO` the status is 400.
  if (problem instanceof GatewayError && problem.answer.error === "INVALID_PAYMENT_ID") return null;
  throw problem;
}

// At once, whatever the page does: they include the client secret.
if (new URLSearchParams(location.search).has("octo_payment")) forgetParameters(STRIPE_PARAMETERS);
if (!customElements.get("octo-payment")) customElements.define("octo-payment", OctoPayment);
