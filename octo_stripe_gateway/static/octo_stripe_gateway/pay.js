// Shows on the pay page what is due as the server says it: the price may change while the page is open.

/** @param {Event} event */
function show({detail: {payment}}) {
  if (!payment) return;
  const {amount, currency, currencyPrecision: digits} = payment;
  const style = {style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits};
  const format = new Intl.NumberFormat(document.documentElement.lang, style);
  document.querySelector("#due").textContent = format.format(amount / 10 ** digits);
}

for (const news of ["ready", "failed"]) document.addEventListener(`octo-payment-${news}`, show);
