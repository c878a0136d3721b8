"use strict";
// Local times beside UTC, and the secret of a one-time link: it stands behind the #,
// which no browser sends, and goes into the form.
(function () {
  function localTimes(root) {
    for (const one of root.querySelectorAll("time[datetime]:not([title])")) {
      const at = new Date(one.dateTime);
      if (!Number.isNaN(at.getTime())) {
        one.title = at.toLocaleString(undefined, {
          dateStyle: "medium", timeStyle: "long",
        }) + " here";
      }
    }
  }
  function enter() {
    const form = document.getElementById("entrance");
    const secret = window.location.hash.slice(1);
    if (form && secret) {
      window.history.replaceState(null, "", window.location.pathname);
      form.elements.secret.value = secret;
      form.submit();
    }
  }
  // A slider writes its time into the field beside it, and asks when it is let go.
  function sliders() {
    for (const slide of document.querySelectorAll("input[type=range][data-sets]")) {
      const field = slide.form.elements[slide.dataset.sets];
      slide.addEventListener("input", () => {
        field.value = new Date(slide.value * 1000).toISOString().replace(".000Z", "Z");
      });
      slide.addEventListener("change", () => slide.form.requestSubmit());
    }
  }
  localTimes(document);
  sliders();
  enter();
})();
