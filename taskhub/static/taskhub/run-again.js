// The variables of a run that is repeated: its secret values are asked for; the hub has kept the plain ones.

import { element } from "./dom.js";

/**
 * @import { ExecuteRequest, Variable } from "schemas"
 */

export class RepeatedVariables {
  /** @type {Map<string, HTMLInputElement>} */
  #secrets = new Map();
  #place;

  /** @param {HTMLElement} place - Of the form. */
  constructor(place) {
    this.#place = place;
  }

  /** @param {Variable[] | null} variables - Null: not known any more. */
  show(variables) {
    const named = variables ?? [];
    this.#secrets = new Map(named.filter(({ secret }) => secret).map(({ name }) => [name, secretInput()]));
    const plain = named.filter(({ secret }) => !secret).map(({ name }) => name);
    this.#place.replaceChildren();
    if (variables === null) this.#place.append(element("p", "The variables of this execution were not kept.", "note"));
    if (plain.length) this.#place.append(element("p", `Variables as they were: ${plain.join(", ")}.`, "note"));
    for (const [name, input] of this.#secrets) {
      const label = element("label", `Secret value of ${name} `);
      label.append(input);
      this.#place.append(label);
    }
  }

  /** The secret values, for a request. */
  get env() {
    /** @type {NonNullable<ExecuteRequest["env"]>} */
    const env = {};
    for (const [name, { value }] of this.#secrets) env[name] = { value, secret: true };
    return env;
  }

  /** Forget what was typed. */
  clear() {
    for (const input of this.#secrets.values()) input.value = "";
  }
}

function secretInput() {
  const input = element("input");
  input.type = "password";
  input.autocomplete = "off";
  input.required = true;
  return input;
}
