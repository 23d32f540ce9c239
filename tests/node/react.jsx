// Pays with Stripe's own components for React; the page says in window.given what and how.

import {
  AddressElement, CardElement, Elements, ExpressCheckoutElement, LinkAuthenticationElement, PaymentElement,
  useElements, useStripe,
} from "@stripe/react-stripe-js";
import {loadStripe} from "@stripe/stripe-js";
import {StrictMode, useState} from "react";
import {createRoot} from "react-dom/client";

const {secret, kind, options} = window.given;
const stripePromise = loadStripe("pk_test_x");
const confirmParams = {return_url: location.href};

const PAY = {
  payment: ({stripe, elements}) => stripe.confirmPayment({elements, confirmParams, redirect: "if_required"}),
  card: ({stripe, elements}) =>
    stripe.confirmCardPayment(secret, {payment_method: {card: elements.getElement(CardElement)}}),
  deferred: async ({stripe, elements}) => {
    const {error} = await elements.submit();
    if (error) return {error};
    return stripe.confirmPayment({elements, clientSecret: secret, confirmParams, redirect: "if_required"});
  },
};

function Form() {
  const stripe = useStripe();
  const elements = useElements();
  const [result, setResult] = useState("");
  const [ready, setReady] = useState(false);
  const pay = async (event) => {
    event.preventDefault();
    const {error, paymentIntent} = await PAY[kind]({stripe, elements});
    setResult(error ? error.message : paymentIntent.status);
  };
  return (
    <form onSubmit={pay}>
      <LinkAuthenticationElement />
      <AddressElement options={{mode: "billing"}} />
      {kind === "card" ? <CardElement onReady={() => setReady(true)} /> : <PaymentElement onReady={() => setReady(true)} />}
      {kind === "payment" && <ExpressCheckoutElement onConfirm={() => {}} />}
      <button disabled={!stripe || !ready}>Pay now</button>
      <output>{result}</output>
    </form>
  );
}

function Page() {
  const [theme, setTheme] = useState("stripe");
  return (
    <>
      <button type="button" onClick={() => setTheme("night")}>Night</button>
      <Elements stripe={stripePromise} options={{...options, appearance: {theme}}}><Form /></Elements>
    </>
  );
}

createRoot(document.querySelector("main")).render(<StrictMode><Page /></StrictMode>);
