// What the right side shows: the decoded picture, its levels one by one, or where its bits went.

import { chosen } from "./controls.js";
import { count, fixed } from "./format.js";

const PLAY_MILLISECONDS = 700;
const byId = id => document.getElementById(id);

export class Views {
  /**
   * @param desk.task runs work on the present file: (slot, order) -> facts.
   * @param desk.picture gives the URL of a result.
   */
  constructor(desk) {
    this.desk = desk;
    this.right = byId("right");
    this.bits = byId("bits");
    byId("views").addEventListener("change", event => {
      if (event.target.name === "view") this.show();
    });
    byId("level").addEventListener("input", () => {
      this.stop();
      this.#level(Number(byId("level").value));
    });
    byId("play").addEventListener("click", () => (this.playing ? this.stop() : this.#play()));
    byId("bits-level").addEventListener("change", () => this.#bits());
    byId("strength").addEventListener("input", () => this.#strength());
    this.reset(null);
  }

  /** Another file, or none; the old one's pictures are dropped. */
  reset(result) {
    this.stop();
    [...(this.levels?.values() ?? []), ...(this.maps?.values() ?? [])].forEach(one => URL.revokeObjectURL(one.url));
    this.levels = new Map();
    this.maps = new Map();
    this.result = result;
    this.bits.hidden = true;
    if (!result) return;
    const total = result.levels.length;
    const level = byId("level");
    const last = Number(level.value) === Number(level.max);
    level.max = Math.max(total, 1);
    level.value = last ? total : Math.min(level.value, total);
    byId("bits-level").parentElement.hidden = !total;
    if (byId("bits-level").options.length !== total + 1) {
      const options = result.levels.map((_, index) => new Option(`level ${index + 1}`, index + 1));
      byId("bits-level").replaceChildren(new Option("all levels", ""), ...options);
    }
  }

  /** Show what is chosen. */
  show() {
    this.stop();
    const view = chosen("view"), lossy = Boolean(this.result?.levels.length);
    byId("levels-row").hidden = view !== "levels" || !lossy;
    byId("bits-row").hidden = view !== "bits" || !this.result;
    this.bits.hidden = true;
    const note = byId("view-note");
    note.hidden = view !== "levels" || !this.result || lossy;
    note.textContent = "This file is lossless: it has no levels.";
    if (!this.result) return undefined;
    this.right.src = this.result.url;
    if (view === "bits") return this.#bits();
    return view === "levels" && lossy ? this.#level(Number(byId("level").value)) : undefined;
  }

  stop() {
    clearTimeout(this.playing);
    this.playing = null;
    byId("play").textContent = "Play";
  }

  /** Fetch a picture once, and give it again later. */
  async #cached(map, key, slot, order) {
    const { result } = this;
    if (map.has(key)) return map.get(key);
    const facts = await this.desk.task(slot, order);
    const url = facts && (await this.desk.picture(facts.shown));
    if (!url) return null;
    if (result !== this.result) {
      URL.revokeObjectURL(url);
      return null;
    }
    map.set(key, { ...facts, url });
    return map.get(key);
  }

  async #level(number) {
    byId("level").value = number;
    byId("level-number").value = number;
    const total = this.result.levels.length;
    const { bytes } = this.result.levels[number - 1];
    byId("level-note").textContent = `the first ${count(bytes)} bytes`;
    byId("level").setAttribute("aria-valuetext", `${number} of ${total}, the first ${count(bytes)} bytes`);
    const found = await this.#cached(this.levels, number, "view", { task: "level", level: number });
    const wanted = chosen("view") === "levels" && Number(byId("level").value) === number;
    if (found && wanted) this.right.src = found.url;
    return Boolean(found);
  }

  async #play() {
    byId("play").textContent = "Stop";
    const total = this.result.levels.length;
    const next = async number => {
      if (!(await this.#level(number)) || !this.playing) return;
      if (number === total) this.stop();
      else this.playing = setTimeout(next, PLAY_MILLISECONDS, number + 1);
    };
    this.playing = -1;
    await next(1);
  }

  async #bits() {
    const level = byId("bits-level").value;
    const order = { task: "bits", level: level ? Number(level) : null };
    const found = await this.#cached(this.maps, level, "view", order);
    if (!found || chosen("view") !== "bits" || byId("bits-level").value !== level) return;
    this.bits.src = found.url;
    this.bits.hidden = false;
    this.#strength();
    byId("legend").hidden = false;
    byId("peak").textContent = `${fixed(found.peak, 2)} bits per pixel`;
  }

  #strength() {
    byId("strength-number").value = byId("strength").value;
    this.bits.style.opacity = byId("strength").value / 100;
  }
}
