// @ts-check
// Where clients call the gate.
import { get } from "./api.js";
import { gateAddress } from "./snippets.js";
import { useData } from "./ui.js";

/** Returns the gate's URL for snippets, from the configuration if it tells, and otherwise
 * guessed from the address of this page. */
export function useGate() {
  const { data } = useData(
    async () => {
      const { gates } = await get("settings");
      return gates.find((/** @type {{url: string | null}} */ { url }) => url)?.url;
    },
    [],
    () => false,
  );
  return data ?? gateAddress(new URL(document.baseURI));
}
