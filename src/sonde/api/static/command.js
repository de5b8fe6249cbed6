/** Have a device do something: a form made from its own template, what becomes of it, and what was asked before. */
import { html, useEffect, useState } from "./vendor/preact.js";
import { Trouble, ask, query, useAnswer } from "./ask.js";
import { follow } from "./feed.js";
import { Age, Problem } from "./parts.js";
import { seconds } from "./words.js";

export const CommandForm = (/** @type {any} */ _) => html`<p class="quiet">…</p>`;
export const CommandHistory = (/** @type {any} */ _) => null;
