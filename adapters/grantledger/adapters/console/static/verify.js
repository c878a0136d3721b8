"use strict";
// Checks a leaf in this browser: RFC 6962 hashes and C2SP signed notes, with WebCrypto.
(function () {
  const DASH = "\u2014 ";

  function bytes(text) {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  }
  function joined(...parts) {
    const whole = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
    let at = 0;
    for (const part of parts) { whole.set(part, at); at += part.length; }
    return whole;
  }
  function equal(a, b) {
    return a.length === b.length && a.every((one, n) => one === b[n]);
  }
  function hex(data) {
    return Array.from(data, (b) => b.toString(16).padStart(2, "0")).join("");
  }
  async function sha256(...parts) {
    return new Uint8Array(await crypto.subtle.digest("SHA-256", joined(...parts)));
  }

  // RFC 9162 section 2.1.3.2. Numbers of leaves fit a double: no shifts of 32 bits.
  async function rootOf(index, size, leaf, hashes) {
    let fn = index, sn = size - 1, root = leaf;
    for (const one of hashes) {
      if (sn === 0) { throw new Error("the path is longer than the tree is high"); }
      if (fn % 2 === 1 || fn === sn) {
        root = await sha256(Uint8Array.of(1), one, root);
        while (fn % 2 === 0 && fn !== 0) {
          fn = Math.floor(fn / 2); sn = Math.floor(sn / 2);
        }
      } else {
        root = await sha256(Uint8Array.of(1), root, one);
      }
      fn = Math.floor(fn / 2); sn = Math.floor(sn / 2);
    }
    if (sn !== 0) { throw new Error("the path is shorter than the tree is high"); }
    return root;
  }

  function readNote(note) {
    const gap = note.lastIndexOf("\n\n");
    const text = note.slice(0, gap + 1);
    const [origin, size, root] = text.split("\n");
    const signatures = note.slice(gap + 2).split("\n").filter(Boolean).map((line) => {
      const [name, blob] = line.slice(DASH.length).split(" ");
      const raw = bytes(blob);
      return { name, id: raw.slice(0, 4), signature: raw.slice(4) };
    });
    return { text, origin, size: Number(size), root: bytes(root), signatures };
  }

  async function signedBy(note, key) {
    // name+id+base64, and a + may stand in the base64.
    const [name, , ...tail] = key.split("+");
    const raw = bytes(tail.join("+"));
    const encoded = new TextEncoder();
    const id = (await sha256(encoded.encode(name), Uint8Array.of(10), raw)).slice(0, 4);
    const publicKey = await crypto.subtle.importKey(
      "raw", raw.slice(1), { name: "Ed25519" }, false, ["verify"]);
    for (const one of note.signatures) {
      if (one.name === name && equal(one.id, id) && await crypto.subtle.verify(
        { name: "Ed25519" }, publicKey, one.signature, encoded.encode(note.text))) {
        return true;
      }
    }
    return false;
  }

  function say(list, good, words) {
    const item = document.createElement("li");
    item.className = good ? "good" : "bad";
    item.textContent = (good ? "\u2713 " : "\u2717 ") + words;
    list.append(item);
  }

  async function verify(url, list) {
    list.replaceChildren();
    const answer = await fetch(url, { headers: { Accept: "application/json" } });
    if (!answer.ok) { say(list, false, `The proof could not be fetched: ${answer.status}.`); return; }
    const said = await answer.json();
    let hashed = bytes(said.leaf_hash);
    if (said.leaf === null) {
      say(list, true, `The leaf was pruned; its hash is ${hex(hashed)}.`);
    } else {
      const leaf = bytes(said.leaf);
      const computed = await sha256(Uint8Array.of(0), leaf);
      const fits = equal(computed, hashed);
      say(list, fits, `SHA-256 of the ${leaf.length} stored bytes is ${hex(computed)}` +
        (fits ? "." : ", and the ledger says another."));
      hashed = computed;
    }
    const note = readNote(said.checkpoint);
    const root = await rootOf(said.index, note.size, hashed, said.hashes.map(bytes));
    const inside = equal(root, note.root);
    say(list, inside, inside
      ? `With ${said.hashes.length} hashes beside it, it is leaf ${said.index} of the ${note.size} below root ${hex(root)}.`
      : `The path leads to root ${hex(root)}, and the checkpoint says ${hex(note.root)}.`);
    let signer = null;
    for (const key of said.keys) {
      if (await signedBy(note, key)) { signer = key; break; }
    }
    say(list, signer !== null, signer !== null
      ? `The checkpoint of ${note.origin} is signed by ${signer}.`
      : `No key of this ledger has signed the checkpoint of ${note.origin}.`);
    say(list, inside && signer !== null, inside && signer !== null
      ? "All of it holds. Compare the key with the one that you were given another way."
      : "It does not hold: keep this page, and tell who answers for the ledger.");
  }

  // Whichever button, now there or opened later.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-verify]");
    if (!button) { return; }
    const list = button.closest("section").querySelector(".checks");
    button.disabled = true;
    try { await verify(button.dataset.verify, list); }
    catch (error) { say(list, false, `It could not be checked: ${error.message}.`); }
    finally { button.disabled = false; button.focus(); }
  });
})();
