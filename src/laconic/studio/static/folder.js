// A folder as a table: each picture is uploaded, compressed and measured, one after the other.

import { Client, isAbort } from "./client.js";
import { NONE, count, fixed, psnr, renamed, row, save, structure } from "./format.js";

const PICTURES = /\.(png|jpe?g|webp|avif|bmp|gif|tiff?|ppm|heic|jxl)$/i;
const HEADS = ["picture", "width", "height", "bytes", "lac_bytes", "bpp", "psnr_db", "ms_ssim", "encode_seconds", "error"];
const byId = id => document.getElementById(id);

export class Folder {
  /**
   * @param request gives the settings of a file.
   * @param show shows a picture of the folder on the stage.
   */
  constructor(request, show) {
    this.request = request;
    this.show = show;
    this.body = document.querySelector("#table tbody");
    this.foot = document.querySelector("#table tfoot");
    this.links = [];
    byId("table-stop").addEventListener("click", () => this.stop());
    byId("table-save").addEventListener("click", () => this.#save());
    byId("table-close").addEventListener("click", () => {
      this.stop();
      this.#clear();
      byId("table-section").hidden = true;
    });
  }

  stop() {
    this.controller?.abort();
  }

  /** Compress the pictures of a list of files. */
  async run(files) {
    this.stop();
    this.#clear();
    const controller = (this.controller = new AbortController());
    const pictures = [...files].filter(file => PICTURES.test(file.name) && !file.name.startsWith("."));
    pictures.sort((a, b) => this.#nameOf(a).localeCompare(this.#nameOf(b)));
    byId("table-section").hidden = false;
    byId("table-title").textContent = pictures[0]?.webkitRelativePath.split("/")[0] || "Folder";
    byId("table-section").scrollIntoView({ block: "nearest" });
    byId("table-stop").disabled = false;
    const client = new Client(); // Of its own: the picture on the stage is kept.
    const request = this.request();
    for (const [index, file] of pictures.entries()) {
      byId("table-status").textContent = `${index + 1} of ${pictures.length}: ${file.name}`;
      try {
        await this.#one(client, file, request, controller.signal);
      } catch (error) {
        if (isAbort(error)) break;
        this.#fail(file, error.message);
      }
    }
    if (this.controller !== controller) return;
    byId("table-stop").disabled = true;
    byId("table-save").disabled = !this.results.length;
    const stopped = controller.signal.aborted ? ", stopped" : "";
    byId("table-status").textContent = pictures.length
      ? `${this.results.length} of ${pictures.length} pictures${stopped}`
      : "There are no pictures in this folder.";
  }

  async #one(client, file, request, signal) {
    const opened = await client.upload(file, signal);
    const facts = await client.order({ ...request, source: opened.source }, signal);
    const blob = await client.blob(facts.file, signal);
    const name = this.#nameOf(file);
    const line = row([
      "", `${facts.width} × ${facts.height}`, count(file.size), count(facts.bytes), fixed(facts.bpp, 3),
      psnr(facts), structure(facts), fixed(facts.encode_seconds, 2), "",
    ], false);
    line.cells[0].append(this.#opener(file));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = renamed(file.name, ".lac");
    link.textContent = ".lac";
    link.setAttribute("aria-label", `Download ${link.download}`);
    line.cells[8].append(link);
    this.links.push(link.href);
    this.body.append(line);
    this.results.push({ ...facts, picture: name, bytes: file.size, lac_bytes: facts.bytes, psnr_db: facts.psnr, error: "" });
    this.#sum();
  }

  #opener(file) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = this.#nameOf(file);
    button.title = "Show it above";
    button.addEventListener("click", () => this.show(file));
    return button;
  }

  #fail(file, text) {
    const line = row(["", ""], false);
    line.cells[0].append(this.#nameOf(file));
    line.cells[1].textContent = text;
    line.cells[1].colSpan = 8;
    line.cells[1].className = "fault";
    this.body.append(line);
    this.results.push({ picture: this.#nameOf(file), error: text });
  }

  /** The last row: sums of bytes, means of the others. */
  #sum() {
    const good = this.results.filter(one => !one.error);
    const total = key => good.reduce((sum, one) => sum + one[key], 0);
    const known = good.filter(one => one.psnr != null);
    const mean = known.length ? fixed(known.reduce((sum, one) => sum + one.psnr, 0) / known.length, 2) : NONE;
    const pixels = good.reduce((sum, one) => sum + one.width * one.height, 0);
    this.foot.replaceChildren(row([
      "together, mean PSNR", "", count(total("bytes")), count(total("lac_bytes")),
      fixed((8 * total("lac_bytes")) / pixels, 3), mean, "", fixed(total("encode_seconds"), 1), "",
    ], false));
  }

  #nameOf(file) {
    return file.webkitRelativePath.split("/").slice(1).join("/") || file.name;
  }

  #clear() {
    this.links.forEach(URL.revokeObjectURL);
    this.links = [];
    this.results = [];
    this.body.replaceChildren();
    this.foot.replaceChildren();
    byId("table-save").disabled = true;
  }

  #save() {
    const cell = value => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const lines = this.results.map(one => HEADS.map(head => cell(String(one[head] ?? ""))).join(","));
    save(new Blob([[HEADS.join(","), ...lines, ""].join("\n")], { type: "text/csv" }), "laconic.csv");
  }
}
