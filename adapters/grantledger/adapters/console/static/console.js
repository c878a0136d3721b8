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
  localTimes(document);
  document.addEventListener("htmx:load", (event) => localTimes(event.target));
  enter();
})();
