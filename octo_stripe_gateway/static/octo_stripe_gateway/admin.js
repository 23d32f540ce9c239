// Copies what stands before a button; where the browser forbids that, it stays selected, to be copied by hand.

document.addEventListener("click", async ({target}) => {
  const button = target.closest(".octo-copy");
  if (!button) return;
  button.previousElementSibling.select();
  await navigator.clipboard?.writeText(button.previousElementSibling.value);
  if (navigator.clipboard) button.textContent = button.dataset.done;
});
