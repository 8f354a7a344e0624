// Snippets show how a client uses a key. They read the key from the environment instead of
// containing it, because other users can see a command's arguments.

// curl returns a shell command that lists unikernels.
export function curl(gate) {
  return `printf 'Authorization: Bearer %s\\n' "$MOLLYGATE_KEY" |\n  curl --header @- --silent --show-error --fail-with-body "${gate}/api/unikernels"`;
}

// gateAddress returns the gate's URL if the host names follow the README, or else the shell
// variable that docs/client.md uses for it.
export function gateAddress(page) {
  if (new URL(".", page).pathname !== "/") return page.origin;
  return page.hostname.startsWith("keys.") ? page.origin.replace("//keys.", "//") : "$MOLLY";
}

// workflow returns a complete GitHub Actions workflow.
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
