// @ts-check
// The forms and questions that the first page can open. They are loaded when they are needed.
import { text } from "./text.js";
import { note, part } from "./ui.js";

/** Returns a function that loads a module and calls its function of that name.
 * @template {Record<string, any>} M
 * @template {keyof M} N
 * @param {() => Promise<M>} load
 * @param {N} name
 * @returns {(...given: Parameters<M[N]>) => void} */
const later =
  (load, name) =>
  (...given) =>
    void part(load()).then(
      (module) => module[name](...given),
      (error) => note(error.message, { bad: true, label: text.reload, run: () => location.reload() }),
    );

const form = () => import("./form.js");
const actions = () => import("./actions.js");

export const openForm = later(form, "openForm");
export const askExtend = later(actions, "askExtend");
export const askRevoke = later(actions, "askRevoke");
export const askRotate = later(actions, "askRotate");
export const askTrim = later(actions, "askTrim");
export const askTrimResources = later(actions, "askTrimResources");
