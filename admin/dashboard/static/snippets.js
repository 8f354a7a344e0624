// What a client does with a key, to be copied. The key itself is in no snippet: it comes
// from the environment, and a command's arguments can be seen by others.

// curl is a shell command that lists unikernels.
export function curl(gate) {
  return `printf 'Authorization: Bearer %s\\n' "$MOLLYGATE_KEY" |\n  curl --header @- --silent --show-error --fail-with-body "${gate}/api/unikernels"`;
}

// gateAddress is where the gate is if the names are those of the README, or the shell
// variable that client.md has for it.
export function gateAddress(page) {
  if (new URL(".", page).pathname !== "/") return page.origin;
  return page.hostname.startsWith("keys.") ? page.origin.replace("//keys.", "//") : "$MOLLY";
}

// workflow is a whole workflow for GitHub Actions.
export function workflow(gate) {
  return [
    "name: Mollymawk",
    "on: push",
    "jobs:",
    "  unikernels:",
    "    runs-on: ubuntu-latest",
    "    permissions: {}",
    "    steps:",
    "      - name: List unikernels",
    "        env:",
    ...(gate.startsWith("$") ? ["          MOLLY: ${{ vars.MOLLY }}"] : []),
    "          MOLLYGATE_KEY: ${{ secrets.MOLLYGATE_KEY }}",
    "        run: |",
    ...curl(gate).split("\n").map((line) => `          ${line}`),
    "",
  ].join("\n");
}
