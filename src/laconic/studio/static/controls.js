// The controls: what is requested, and what is shown.

const BPP = { least: 0.05, most: 6 };
const byId = id => document.getElementById(id);
const radios = name => [...document.querySelectorAll(`input[name="${name}"]`)];

/** The chosen value of a group of radio buttons. */
export const chosen = name => document.querySelector(`input[name="${name}"]:checked`)?.value;

/** Choose the next one of a group that can be chosen. */
export function chooseNext(name) {
  const all = radios(name).filter(radio => !radio.disabled);
  const next = all[(all.findIndex(radio => radio.checked) + 1) % all.length];
  next.checked = true;
  next.dispatchEvent(new Event("change", { bubbles: true }));
}

/** Allow some values of a group; a value that is not allowed any more is replaced by the first. */
export function allow(name, values) {
  for (const radio of radios(name)) radio.disabled = !values.includes(radio.value);
  const now = radios(name).find(radio => radio.checked);
  if (now?.disabled) radios(name).find(radio => !radio.disabled).checked = true;
}

function addRadio(group, name, value, text, checked = false) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "radio", name, value, checked });
  const span = document.createElement("span");
  span.textContent = text;
  label.append(input, span);
  group.append(label);
}

const toBpp = place => BPP.least * (BPP.most / BPP.least) ** (place / 100);
const toPlace = bpp => (100 * Math.log(bpp / BPP.least)) / Math.log(BPP.most / BPP.least);

/** Bind a slider and a number; `read` and `write` map places of the slider to numbers. */
function pair(id, read, write, changed) {
  const slider = byId(id), number = byId(`${id}-number`);
  slider.addEventListener("input", () => {
    number.value = read(Number(slider.value));
    changed();
  });
  number.addEventListener("input", () => {
    if (!number.checkValidity() || number.value === "") return;
    slider.value = write(Number(number.value));
    changed();
  });
}

export class Controls {
  /**
   * @param about what the studio said of itself.
   * @param changed called when another file is requested.
   */
  constructor(about, changed) {
    const names = { jpeg: "JPEG", webp: "WebP", avif: "AVIF" };
    for (const name of about.anchors) addRadio(byId("anchors"), "anchor", name, names[name]);
    byId("taste-row").hidden = !about.tunes.length;
    const words = { psnr: "Exactness", balanced: "Balanced", "ms-ssim": "Structure" };
    for (const tune of about.tunes) {
      addRadio(byId("taste"), "tune", tune, words[tune] ?? tune, tune === about.tune);
    }
    pair("quality", value => value, value => value, changed);
    pair("bpp", place => toBpp(place).toFixed(2), toPlace, changed);
    byId("bpp").value = toPlace(0.5);
    byId("effort").addEventListener("input", () => {
      byId("effort-number").value = byId("effort").value;
      changed();
    });
    byId("target").addEventListener("change", event => {
      if (event.target.name === "mode") this.#showMode();
      if (event.target.type === "radio") changed();
    });
    this.#showMode();
  }

  #showMode() {
    const mode = chosen("mode"), lossless = mode === "lossless";
    byId("quality-row").hidden = mode !== "quality";
    byId("bpp-row").hidden = mode !== "bpp";
    const effort = byId("effort");
    if (lossless !== this.lossless) effort.value = lossless ? 5 : 0;
    this.lossless = lossless;
    byId("effort-number").value = effort.value;
    for (const radio of radios("tune")) radio.disabled = lossless;
  }

  /** The request of a file, without its source. */
  request() {
    const mode = chosen("mode");
    const order = { task: "encode", effort: Number(byId("effort").value) };
    if (mode === "lossless") return { ...order, lossless: true };
    const tune = chosen("tune");
    const size = mode === "bpp" ? { bpp: Number(byId("bpp-number").value) } : { quality: Number(byId("quality-number").value) };
    return { ...order, ...size, ...(tune ? { tune } : {}) };
  }
}
