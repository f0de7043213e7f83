/** The page that a server delivers: the explorer in the whole window. */

import { fetchTransport } from "./api.js";
import { mount } from "./app.js";
import { addressHistory } from "./state.js";

await mount(document.getElementById("explorer"), {
  transport: fetchTransport(),
  history: addressHistory(window),
  keys: document,
});
