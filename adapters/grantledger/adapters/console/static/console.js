"use strict";
// Local times beside UTC, sliders through time, events that open in place, numbers that
// are kept fresh; and the secret of a one-time link, which stands behind the #, which no
// browser sends, and goes into the form. Every page works without it, the link apart.
(function () {
  const REFRESH_MS = 15_000;

  function localTimes(within) {
    for (const one of within.querySelectorAll("time[datetime]:not([title])")) {
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
  document.addEventListener("input", (event) => {
    const slide = event.target;
    if (slide.matches("input[type=range][data-sets]")) {
      const at = new Date(slide.value * 1000).toISOString().replace(".000Z", "Z");
      slide.form.elements[slide.dataset.sets].value = at;
      slide.setAttribute("aria-valuetext", at);
    }
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("input[type=range][data-sets]")) {
      event.target.form.requestSubmit();
    }
  });

  // An event opens in the row below its own; then it closes and opens, and is not
  // fetched again. With a key held, its link is a link like any other.
  function open(link, row, shown) {
    row.hidden = !shown;
    link.setAttribute("aria-expanded", String(shown));
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-opens]");
    if (link && (event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.stopImmediatePropagation();
    }
  }, true);
  document.addEventListener("htmx:beforeRequest", (event) => {
    const link = event.target;
    if (link.matches("a[data-opens]")) {
      const row = link.closest("tr").nextElementSibling;
      if (row.firstElementChild.childElementCount > 0) {
        event.preventDefault();
        open(link, row, row.hidden);
      }
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    const row = event.target.closest("tr.opened");
    if (row) {
      open(row.previousElementSibling.querySelector("a[data-opens]"), row, true);
    }
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (event.target.matches("a[data-opens]")) {
      window.location.assign(event.target.href);
    }
  });
  document.addEventListener("htmx:load", (event) => localTimes(event.target));

  // The present is kept fresh while somebody looks, and reads or opens nothing in it.
  window.setInterval(() => {
    const now = document.querySelector("[data-fresh]");
    const wanted = document.getElementById("keep-fresh");
    if (now && wanted && wanted.checked && document.visibilityState === "visible"
        && !now.contains(document.activeElement) && !now.querySelector("details[open]")) {
      window.htmx.trigger(now, "fresh");
    }
  }, REFRESH_MS);
  document.addEventListener("change", (event) => {
    if (event.target.id === "keep-fresh" && event.target.checked) {
      window.htmx.trigger(document.querySelector("[data-fresh]"), "fresh");
    }
  });

  document.documentElement.classList.add("scripted");
  localTimes(document);
  enter();
})();
