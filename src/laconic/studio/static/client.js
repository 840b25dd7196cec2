// Requests to the studio. Answers to work are lines of JSON: progress, then a result or an error.

/** An error that the user may read. */
export class StudioError extends Error {}

/** A new name for a tab, 128 random bits. */
export function newSession() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map(byte => byte.toString(16).padStart(2, "0")).join("");
}

export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/** Sends the requests of one tab; another client of the same tab shares no files with it. */
export class Client {
  constructor(session = newSession()) {
    this.session = session;
  }

  async #fetch(path, options = {}) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: { "X-Session": this.session } });
    } catch (error) {
      if (isAbort(error)) throw error;
      throw new StudioError("The studio does not answer: was the command stopped?");
    }
    if (response.ok) return response;
    const text = await response.json().then(body => body.error, () => "");
    throw new StudioError(text || `The studio answered ${response.status}.`);
  }

  about() {
    return this.#fetch("/api/about").then(response => response.json());
  }

  /** A result's bytes, as a Blob. */
  blob(name, signal) {
    return this.#fetch(`/api/results/${name}`, { signal }).then(response => response.blob());
  }

  upload(file, signal, onProgress) {
    return this.#work("/api/pictures", file, signal, onProgress);
  }

  openGiven(index, signal, onProgress) {
    return this.#work(`/api/given/${index}`, "", signal, onProgress);
  }

  order(order, signal, onProgress) {
    return this.#work("/api/orders", JSON.stringify(order), signal, onProgress);
  }

  async #work(path, body, signal, onProgress = () => {}) {
    const response = await this.#fetch(path, { method: "POST", body, signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      let step;
      try {
        step = await reader.read();
      } catch (error) {
        if (isAbort(error)) throw error;
        throw new StudioError("The studio ended in the middle of the work.");
      }
      if (step.done) throw new StudioError("The studio ended in the middle of the work.");
      const lines = (text + step.value).split("\n");
      text = lines.pop();
      for (const line of lines.filter(Boolean)) {
        const said = JSON.parse(line);
        if (said.progress) onProgress(...said.progress);
        if (said.result) return said.result;
        if (said.cancelled) throw new DOMException(said.error, "AbortError");
        if (said.error) throw new StudioError(said.error);
      }
    }
  }
}
