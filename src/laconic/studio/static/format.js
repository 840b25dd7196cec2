// Numbers as texts.

export const NONE = "–";

export const count = value => (value == null ? NONE : value.toLocaleString("en"));

export const fixed = (value, digits) => (value == null ? NONE : value.toFixed(digits));

/** PSNR of an answer in dB. */
export const psnr = facts => (facts.exact ? "exact" : fixed(facts.psnr, 2));

/** MS-SSIM of an answer in dB: -10 log10(1 - value). */
export function structure(facts) {
  if (facts.exact) return "exact";
  return facts.ms_ssim == null ? NONE : fixed(-10 * Math.log10(1 - facts.ms_ssim), 2);
}

/** A row of a table from texts; the first is its name. */
export function row(texts, heading = true) {
  const line = document.createElement("tr");
  texts.forEach((text, index) => {
    const cell = document.createElement(index === 0 && heading ? "th" : "td");
    if (index === 0 && heading) cell.scope = "row";
    cell.textContent = text;
    line.append(cell);
  });
  return line;
}

/** Save what a URL names as a file. */
export function saveUrl(url, name) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

/** Save a Blob as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  saveUrl(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** A name with another ending. */
export const renamed = (name, ending) => name.replace(/\.[^.]*$/, "") + ending;
