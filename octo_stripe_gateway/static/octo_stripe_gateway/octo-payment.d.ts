/**
 * `<octo-payment>` as a page's TypeScript sees it; octo-payment.js defines it.
 *
 * Attributes: `endpoint` (where payments are created), `payable` (`type:id`), `purpose` (`deposit`, `balance`,
 * `full`), `express` (wallets above the form), `locale` (the page's `lang` otherwise), `return-url` (this page
 * otherwise), `csrf-token` (Django's cookie otherwise). `state` is the element's own, to style by.
 *
 * Parts: `body`, `express`, `or`, `form`, `skeleton`, `until`, `error`, `button`, `status`. Custom properties:
 * `--octo-payment-accent`, `-on-accent`, `-text`, `-muted`, `-background`, `-border`, `-danger`, `-radius`. Light
 * or dark is as the page's `color-scheme` says.
 */

import type {components} from "./openapi";

type Schemas = components["schemas"];

/** Loading, the form is there, Stripe is asked, the bank takes its time, and how it ended. */
export type OctoPaymentState = "loading" | "ready" | "paying" | "processing" | "paid" | "expired" | "failed";

/** What has been asked for and paid of one payable; amounts are in Stripe's minor unit. */
export type Balance = Schemas["GatewayBalance"];

/** A payment as the API answers it; it never has the client secret. */
export type Payment = Schemas["GatewayPayment"];

export type CreatedPayment = Schemas["GatewayCreatedPayment"];

/** What events tell; `error.message` is for the customer. */
export interface OctoPaymentDetail {
  payment: Payment | null;
  balance: Balance | null;
  error: {code: string; message: string} | null;
}

export type OctoPaymentEvent = CustomEvent<OctoPaymentDetail>;

/** Stripe's Appearance; what is left out is taken from the element's colours. */
export interface Appearance {
  theme?: "stripe" | "night" | "flat";
  variables?: Record<string, string>;
  rules?: Record<string, Record<string, string>>;
  labels?: "above" | "floating";
  inputs?: "spaced" | "condensed";
  disableAnimations?: boolean;
}

/** `loadStripe` of `@stripe/stripe-js`, for pages that don't have Stripe.js in a script element. */
export type LoadStripe = (publishableKey: string, options?: any) => Promise<any>;

/** The element's attributes and, as React names them, its events. */
export type OctoPaymentAttributes = {
  endpoint: string;
  payable: string;
  purpose?: string;
  express?: boolean | "";
  locale?: string;
  "return-url"?: string;
  "csrf-token"?: string;
} & {[name in keyof OctoPaymentEventMap as `on${name}`]?: (event: OctoPaymentEventMap[name]) => void};

export interface OctoPaymentEventMap {
  "octo-payment-ready": OctoPaymentEvent;
  "octo-payment-paid": OctoPaymentEvent;
  "octo-payment-processing": OctoPaymentEvent;
  "octo-payment-failed": OctoPaymentEvent;
  "octo-payment-expired": OctoPaymentEvent;
}

export class OctoPayment extends HTMLElement {
  static observedAttributes: string[];

  endpoint: string;
  payable: string;
  purpose: string;
  /** A Bearer token, where the session's cookie is not what authenticates. */
  token: string;
  /** Set it again after the page's own switch to dark or light. */
  appearance: Appearance;
  /** Options of Stripe's Payment Element and Express Checkout Element. */
  paymentOptions: object;
  expressOptions: object;
  loadStripe: LoadStripe;

  get state(): OctoPaymentState;
  get payment(): Payment | null;
  get language(): string;

  /** Pay, as the button does. */
  pay(): Promise<void>;
  /** Begin anew: the payment is found again, and Stripe's form made again. */
  restart(): void;

  connectedCallback(): void;
  disconnectedCallback(): void;
  attributeChangedCallback(name: string, before: string | null, now: string | null): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "octo-payment": OctoPayment;
  }
  interface HTMLElementEventMap extends OctoPaymentEventMap {}
}
