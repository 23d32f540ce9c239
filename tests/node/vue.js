// Pays with the components for Vue; the page says in window.given what and how.

import {
  usePaymentIntent, useStripeElements, VueStripeElements, VueStripeExpressCheckoutElement,
  VueStripeLinkAuthenticationElement, VueStripePaymentElement, VueStripeProvider,
} from "@vue-stripe/vue-stripe";
import {createApp, defineComponent, h, ref} from "vue";

const {secret, options} = window.given;

const Form = defineComponent(() => {
  const ready = ref(false);
  const result = ref("");
  const {submit} = useStripeElements();
  const {confirmPayment} = usePaymentIntent();
  async function pay(event) {
    event.preventDefault();
    const {error: mistake} = await submit();
    const confirmParams = {return_url: location.href};
    const {error, paymentIntent} = mistake
      ? {error: mistake} : await confirmPayment({clientSecret: secret, confirmParams, redirect: "if_required"});
    result.value = error ? error.message : paymentIntent.status;
  }
  return () => h("form", {onSubmit: pay}, [
    h(VueStripeLinkAuthenticationElement),
    h(VueStripePaymentElement, {onReady: () => { ready.value = true; }}),
    h(VueStripeExpressCheckoutElement),
    h("button", {disabled: !ready.value}, "Pay now"),
    h("output", result.value),
  ]);
});

createApp({
  render: () => h(VueStripeProvider, {publishableKey: "pk_test_x"}, () => h(VueStripeElements, options, () => h(Form))),
}).mount("main");
