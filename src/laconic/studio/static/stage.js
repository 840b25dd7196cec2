// The two versions of a picture: zoom, pan, and the divider between them.

const LEAST = 0.05, MOST = 32, STEP = 1.25, PAN = 60, SHARP = 2;

export class Stage {
  constructor() {
    this.box = document.getElementById("stage");
    this.front = document.getElementById("front");
    this.divider = document.getElementById("divider");
    this.images = this.box.querySelectorAll("img");
    this.zoomText = document.getElementById("zoom");
    this.width = this.height = 1;
    this.scale = 1;
    this.x = this.y = 0;
    this.fitted = true;
    this.pointers = new Map();
    this.setSplit(50);
    this.#listen();
  }

  /** A picture of another size, or a new one: it is fitted into the stage. */
  setSize(width, height) {
    this.width = width;
    this.height = height;
    for (const image of this.images) Object.assign(image, { width, height });
    this.fit();
  }

  /** Show the two sides; without a left one there is no divider. */
  setSides(hasLeft) {
    this.divider.hidden = !hasLeft;
    this.front.style.clipPath = hasLeft ? `inset(0 0 0 ${this.split}%)` : "none";
  }

  setSplit(percent) {
    this.split = Math.min(100, Math.max(0, percent));
    this.divider.style.left = `${this.split}%`;
    this.front.style.clipPath = this.divider.hidden ? "none" : `inset(0 0 0 ${this.split}%)`;
    this.divider.setAttribute("aria-valuenow", Math.round(this.split));
    this.divider.setAttribute("aria-valuetext", `${Math.round(this.split)} per cent from the left`);
  }

  fit() {
    const { clientWidth, clientHeight } = this.box;
    if (!clientWidth) return;
    this.fitted = true;
    this.scale = Math.min(clientWidth / this.width, clientHeight / this.height, MOST);
    if (this.scale > 1) this.scale = Math.min(this.scale, 4);
    this.x = (clientWidth - this.width * this.scale) / 2;
    this.y = (clientHeight - this.height * this.scale) / 2;
    this.#show();
  }

  /** Zoom by a factor; the point (x, y) of the stage stays where it is. */
  zoomBy(factor, x = this.box.clientWidth / 2, y = this.box.clientHeight / 2) {
    const scale = Math.min(MOST, Math.max(LEAST, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.#show();
  }

  zoomTo(scale, x, y) {
    this.zoomBy(scale / this.scale, x, y);
  }

  panBy(x, y) {
    this.x += x;
    this.y += y;
    this.fitted = false;
    this.#show();
  }

  #show() {
    const { clientWidth, clientHeight } = this.box;
    const [wide, high] = [this.width * this.scale, this.height * this.scale];
    // A part of the picture stays in sight.
    this.x = Math.min(clientWidth * 0.75, Math.max(clientWidth * 0.25 - wide, this.x));
    this.y = Math.min(clientHeight * 0.75, Math.max(clientHeight * 0.25 - high, this.y));
    const transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    for (const image of this.images) image.style.transform = transform;
    this.box.classList.toggle("sharp", this.scale * devicePixelRatio >= SHARP);
    this.zoomText.textContent = `${Math.round(this.scale * devicePixelRatio * 100)} %`;
  }

  #place(event) {
    const bounds = this.box.getBoundingClientRect();
    return [event.clientX - bounds.left, event.clientY - bounds.top];
  }

  #listen() {
    const { box, divider } = this;
    new ResizeObserver(() => (this.fitted ? this.fit() : this.#show())).observe(box);
    box.addEventListener("wheel", event => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
      this.zoomBy(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), ...this.#place(event));
    }, { passive: false });
    box.addEventListener("pointerdown", event => this.#down(event));
    box.addEventListener("pointermove", event => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      box.addEventListener(kind, event => this.#up(event));
    }
    box.addEventListener("dblclick", event => {
      if (this.fitted) this.zoomTo(1 / devicePixelRatio, ...this.#place(event));
      else this.fit();
    });
    box.addEventListener("keydown", event => this.#key(event));
    divider.addEventListener("keydown", event => this.#dividerKey(event));
    const click = (name, action) => document.getElementById(name).addEventListener("click", action);
    click("zoom-in", () => this.zoomBy(STEP));
    click("zoom-out", () => this.zoomBy(1 / STEP));
    click("zoom-fit", () => this.fit());
    click("zoom-one", () => this.zoomTo(1 / devicePixelRatio));
  }

  #down(event) {
    if (event.button > 0) return;
    this.box.setPointerCapture(event.pointerId);
    const onDivider = this.divider.contains(event.target) && this.pointers.size === 0;
    this.pointers.set(event.pointerId, { place: this.#place(event), onDivider });
    this.box.classList.toggle("moving", !onDivider);
  }

  #move(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    const before = [...this.pointers.values()].map(one => one.place);
    pointer.place = this.#place(event);
    const after = [...this.pointers.values()].map(one => one.place);
    if (this.pointers.size === 1 && pointer.onDivider) {
      this.setSplit((100 * pointer.place[0]) / this.box.clientWidth);
    } else if (this.pointers.size === 1) {
      this.panBy(after[0][0] - before[0][0], after[0][1] - before[0][1]);
    } else if (this.pointers.size === 2) {
      this.#pinch(before, after);
    }
  }

  #pinch(before, after) {
    const middle = ([a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const apart = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
    const [from, to] = [middle(before), middle(after)];
    this.panBy(to[0] - from[0], to[1] - from[1]);
    this.zoomBy(apart(after) / apart(before), ...to);
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    if (!this.pointers.size) this.box.classList.remove("moving");
  }

  #key(event) {
    if (event.target !== this.box) return;
    const moves = { ArrowLeft: [PAN, 0], ArrowRight: [-PAN, 0], ArrowUp: [0, PAN], ArrowDown: [0, -PAN] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.panBy(...moves[event.key]);
  }

  #dividerKey(event) {
    const steps = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.setSplit(this.split + steps[event.key]);
  }
}
