// The page: opens pictures, requests files as the controls say, and shows what comes back.

import { Client, isAbort } from "./client.js";
import { Controls, allow, chooseNext, chosen } from "./controls.js";
import { Folder } from "./folder.js";
import { NONE, count, fixed, psnr, renamed, row, save, saveUrl, structure } from "./format.js";
import { Stage } from "./stage.js";
import { Views } from "./views.js";

const DEBOUNCE_MILLISECONDS = 200;
const LABELS = { original: "Original", jpeg: "JPEG", webp: "WebP", avif: "AVIF" };
const byId = id => document.getElementById(id);

class Studio {
  constructor(about) {
    this.about = about;
    this.client = new Client();
    this.stage = new Stage();
    this.controllers = new Map(); // Of the work in each slot.
    this.chains = 0; // Sequences of work that are not at their end.
    this.urls = new Map(); // Of the pictures that are shown, by what they are.
    this.sides = new Map(); // Facts of the left side's versions, by codec.
    this.controls = new Controls(about, () => this.#later());
    this.views = new Views({
      task: (slot, order) => this.#task(slot, { ...order, source: this.result.file }),
      picture: name => this.#picture(name),
    });
    this.folder = new Folder(() => this.controls.request(), file => this.open(file));
    byId("compare").addEventListener("change", () => this.#showLeft());
    byId("save-lac").addEventListener("click", () => this.#saveFile());
    byId("save-png").addEventListener("click", () => this.#savePicture());
    this.#setKind(null);
  }

  // ---- opening

  /** Open a picture or a .lac file that the user chose. */
  open(file) {
    if (file.size > this.about.upload_bytes) {
      this.fail(`${file.name} has ${count(file.size)} bytes, the studio takes ${count(this.about.upload_bytes)}.`);
      return Promise.resolve();
    }
    return this.#open(file.name, (...more) => this.client.upload(file, ...more), file);
  }

  openGiven(index, name) {
    return this.#open(name, (...more) => this.client.openGiven(index, ...more), null);
  }

  #open(name, send, file) {
    this.cancel();
    return this.#chain(() => this.#read(name, send, file));
  }

  async #read(name, send, file) {
    const facts = await this.#run("read", `Opening ${name}`, send);
    const url = facts && (await this.#picture(facts.shown));
    if (!url) return;
    this.source = facts.source;
    this.name = name;
    this.opened = { ...facts, file };
    this.result = null;
    this.sides.clear();
    this.#dropUrls();
    this.stage.box.hidden = byId("bar").hidden = false;
    byId("welcome").hidden = true;
    this.stage.setSize(facts.width, facts.height);
    this.#setKind(facts.kind);
    this.#note(facts.notes);
    document.title = `${name} – Laconic Studio`;
    if (facts.kind === "picture") {
      this.#keep("original", url);
      this.#show("left", "original");
      await this.encode();
    } else {
      this.#take({ ...facts, file: facts.source }, url);
    }
  }

  /** Enable what makes sense: a .lac file has no original, and is not encoded again. */
  #setKind(kind) {
    byId("target").disabled = byId("compare").disabled = kind === "lac";
    byId("views").disabled = kind === null;
    this.stage.setSides(kind === "picture");
    byId("left-tag").textContent = byId("right-tag").textContent = "";
    byId("left").removeAttribute("src");
    byId("right").removeAttribute("src");
    byId("numbers").tBodies[0].replaceChildren();
    byId("seconds").textContent = "";
    byId("save-lac").disabled = byId("save-png").disabled = true;
    this.views.reset(null);
  }

  // ---- encoding

  #later() {
    clearTimeout(this.timer);
    if (this.opened?.kind !== "picture") return;
    this.timer = setTimeout(() => this.encode(), DEBOUNCE_MILLISECONDS);
  }

  /** Request a file as the controls say; older work ends. */
  encode() {
    clearTimeout(this.timer);
    this.#stop("compare");
    this.#stop("view");
    return this.#chain(() => this.#encode());
  }

  async #encode() {
    const order = { ...this.controls.request(), source: this.source };
    const facts = await this.#task("encode", order, "Compressing");
    const url = facts && (await this.#picture(facts.shown));
    if (!url) return;
    this.#note([...(this.opened.notes ?? []), ...facts.notes]);
    this.#take(facts, url);
    await this.#compareAll();
  }

  /** Take a file with its picture as the present one. */
  #take(facts, url) {
    this.result = facts;
    this.turn = null;
    this.sides.clear();
    this.#keep("ours", url);
    allow("view", facts.levels.length ? ["picture", "levels", "bits"] : ["picture", "bits"]);
    this.views.reset({ levels: facts.levels, url });
    const bytes = `${count(facts.bytes)} bytes`;
    byId("right").alt = `Laconic, ${bytes}`;
    byId("right-tag").textContent = `Laconic${facts.levels.length ? "" : ", lossless"} · ${bytes}`;
    this.#numbers();
    const times = [["encoded", facts.encode_seconds], ["decoded", facts.decode_seconds]].filter(one => one[1] != null);
    const share = this.opened.kind === "picture" ? `${fixed((100 * facts.bytes) / this.opened.bytes, 1)} % of the original's bytes` : "";
    byId("seconds").textContent = [...times.map(([word, time]) => `${word} in ${fixed(time, 2)} s`), share].filter(Boolean).join(", ");
    byId("save-lac").disabled = byId("save-png").disabled = false;
    this.#say(`${facts.width} × ${facts.height} pixels, ${bytes}, ${fixed(facts.bpp, 3)} bits per pixel`);
    this.views.show();
  }

  // ---- comparing

  /** Fetch the other codecs' files of the same size, the chosen one first. */
  async #compareAll() {
    const { result } = this;
    const turn = (this.turn = {});
    const first = chosen("anchor");
    const names = [...this.about.anchors].sort((a, b) => (b === first) - (a === first));
    for (const name of names.filter(name => !this.sides.has(name))) {
      await this.#compare(name, result);
      if (turn !== this.turn || result !== this.result) return;
    }
  }

  async #compare(name, result) {
    const order = { task: "compare", name, bytes: result.bytes, source: this.source };
    const facts = await this.#task("compare", order, `Comparing with ${LABELS[name]}`);
    const url = facts && (await this.#picture(facts.shown));
    if (!url) return;
    if (result !== this.result) {
      URL.revokeObjectURL(url);
      return;
    }
    this.sides.set(name, facts);
    this.#keep(name, url);
    this.#numbers();
    if (chosen("anchor") === name) this.#showLeft();
  }

  /** Show the chosen version on the left; what is not there yet is fetched. */
  #showLeft() {
    if (this.opened?.kind !== "picture") return;
    const name = chosen("anchor");
    if (name === "original" || this.sides.has(name)) {
      this.#show("left", name);
      return;
    }
    byId("left-tag").textContent = `${LABELS[name]} …`;
    if (this.result) {
      this.#stop("compare");
      this.#chain(() => this.#compareAll());
    }
  }

  // ---- showing

  #keep(name, url) {
    if (this.urls.has(name)) URL.revokeObjectURL(this.urls.get(name));
    this.urls.set(name, url);
  }

  #dropUrls() {
    this.urls.forEach(url => URL.revokeObjectURL(url));
    this.urls.clear();
  }

  #show(side, name) {
    const image = byId(side), facts = this.sides.get(name);
    image.src = this.urls.get(name);
    const text = LABELS[name] + (facts ? ` · ${count(facts.bytes)} bytes` : "");
    image.alt = text;
    byId(`${side}-tag`).textContent = text;
  }

  #numbers() {
    const rows = [["Laconic", this.result], ...this.about.anchors.map(name => [LABELS[name], this.sides.get(name)])];
    const shown = this.opened.kind === "lac" ? rows.slice(0, 1) : rows;
    byId("numbers").tBodies[0].replaceChildren(...shown.map(([label, facts], index) => {
      const known = facts && (facts.psnr != null || facts.exact);
      const line = row([
        label, facts ? count(facts.bytes) : "…", facts ? fixed(facts.bpp, 3) : "",
        known ? psnr(facts) : facts ? NONE : "", known ? structure(facts) : facts ? NONE : "",
      ]);
      line.className = index ? "" : "ours";
      return line;
    }));
  }

  #say(text) {
    byId("status").textContent = text;
  }

  #note(notes = []) {
    const list = byId("notes");
    list.hidden = !notes.length;
    list.replaceChildren(...[...new Set(notes)].map(text => Object.assign(document.createElement("li"), { textContent: text })));
  }

  /** Show an error; "" hides it. */
  fail(text) {
    byId("error").hidden = !text;
    byId("error").textContent = text;
  }

  // ---- work

  #picture(name) {
    return this.client.blob(name).then(URL.createObjectURL, error => this.#report(error));
  }

  #task(slot, order, words = "") {
    return this.#run(slot, words, (...more) => this.client.order(order, ...more));
  }

  /** Several steps of work, which is busy from the first to the last. */
  async #chain(steps) {
    this.chains += 1;
    try {
      await steps();
    } finally {
      this.chains -= 1;
      this.#busy();
    }
  }

  /** Do work in a slot; older work of the slot ends. Gives the facts, or null. */
  async #run(slot, words, send) {
    this.#stop(slot);
    const controller = new AbortController();
    this.controllers.set(slot, controller);
    this.#busy();
    if (slot === "read" || slot === "encode") this.fail("");
    if (words) this.#say(`${words} …`);
    const progress = byId("progress");
    try {
      return await send(controller.signal, (done, total) => {
        if (total > 1) progress.value = done / total;
        else progress.removeAttribute("value");
      });
    } catch (error) {
      return this.#report(error);
    } finally {
      if (this.controllers.get(slot) === controller) this.controllers.delete(slot);
      this.#busy();
    }
  }

  #report(error) {
    if (!isAbort(error)) {
      this.fail(error.message);
      this.#say("");
    }
    return null;
  }

  #busy() {
    const busy = this.controllers.size + this.chains > 0;
    byId("progress").hidden = !busy;
    if (!busy) byId("progress").removeAttribute("value");
    document.body.dataset.busy = busy;
    byId("stage").setAttribute("aria-busy", busy);
    if (!busy && this.result) {
      const { width, height, bytes, bpp } = this.result;
      this.#say(`${width} × ${height} pixels, ${count(bytes)} bytes, ${fixed(bpp, 3)} bits per pixel`);
    }
  }

  #stop(slot) {
    this.controllers.get(slot)?.abort();
    this.controllers.delete(slot);
  }

  /** End all work on the present picture. */
  cancel() {
    clearTimeout(this.timer);
    this.turn = null;
    for (const slot of [...this.controllers.keys()]) this.#stop(slot);
    this.#busy();
  }

  // ---- saving

  async #saveFile() {
    const own = this.opened.kind === "lac" && this.opened.file;
    const blob = own || (await this.client.blob(this.result.file).catch(error => this.#report(error)));
    if (blob) save(blob, renamed(this.name, ".lac"));
  }

  #savePicture() {
    saveUrl(this.urls.get("ours"), renamed(this.name, ".png"));
  }
}

// ---- the page around it

function listen(studio) {
  const file = byId("file"), folder = byId("folder");
  byId("open").addEventListener("click", () => file.click());
  byId("open-folder").addEventListener("click", () => folder.click());
  byId("help").addEventListener("click", () => byId("help-dialog").showModal());
  file.addEventListener("change", () => {
    if (file.files.length) studio.open(file.files[0]);
    file.value = "";
  });
  folder.addEventListener("change", () => {
    studio.folder.run([...folder.files]);
    folder.value = "";
  });
  addEventListener("dragover", event => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", event => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  addEventListener("drop", event => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    const files = [...event.dataTransfer.files];
    if (files.length > 1) studio.folder.run(files);
    else if (files.length) studio.open(files[0]);
  });
  addEventListener("paste", event => {
    if (event.clipboardData.files.length) studio.open(event.clipboardData.files[0]);
  });
  addEventListener("keydown", event => shortcut(studio, event));
}

function shortcut(studio, event) {
  if (event.key === "Escape") studio.cancel();
  const typing = event.target.matches?.("input:not([type=radio], [type=range], [type=checkbox]), select, textarea");
  const off = typing || event.ctrlKey || event.metaKey || event.altKey || !byId("shortcuts").checked || byId("help-dialog").open;
  if (off) return;
  const press = id => () => byId(id).click();
  const { stage } = studio;
  const actions = {
    o: press("open"), f: press("open-folder"), d: press("save-lac"), "?": press("help"),
    "+": press("zoom-in"), "=": press("zoom-in"), "-": press("zoom-out"), 0: press("zoom-fit"),
    "[": () => stage.setSplit(stage.split - 5), "]": () => stage.setSplit(stage.split + 5),
    c: () => byId("compare").disabled || chooseNext("anchor"),
    v: () => byId("views").disabled || chooseNext("view"),
  };
  const action = actions[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
}

function offer(studio, names) {
  byId("given").replaceChildren(...names.map((name, index) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => studio.openGiven(index, name));
    item.append(button);
    return item;
  }));
  if (names.length === 1) studio.openGiven(0, names[0]);
}

async function start() {
  document.body.dataset.busy = true;
  byId("about").textContent = "Loading the model …";
  let about;
  try {
    about = await new Client().about();
  } catch (error) {
    byId("about").textContent = "";
    byId("error").hidden = false;
    byId("error").textContent = error.message;
    return;
  }
  byId("about").textContent = `model ${about.model}, ${about.levels} levels · version ${about.version}`;
  document.body.dataset.busy = false;
  const studio = new Studio(about);
  listen(studio);
  offer(studio, about.given);
  document.body.dataset.ready = true;
}

start();
