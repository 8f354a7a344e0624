// @ts-check
// Snippets show how a client uses a key. They read the key from the environment instead of
// containing it, because other users can see a command's arguments.

/** Returns the gate's URL if the host names follow the README, or else the shell variable that
 * docs/client.md uses for it.
 * @param {URL} page */
export function gateAddress(page) {
  if (new URL(".", page).pathname !== "/") return page.origin;
  return page.hostname.startsWith("keys.") ? page.origin.replace("//keys.", "//") : "$MOLLY";
}

/** Returns the snippets for a gate, by the names of their tabs. They list the unikernels.
 * @param {string} gate */
export function snippets(gate) {
  const open = gate.startsWith("$");
  const send = `printf 'Authorization: Bearer %s\\n' "$MOLLYGATE_KEY" |\n  curl --header @- --silent --show-error --fail-with-body \\\n    `;
  const url = `"${gate}/api/unikernels"`;
  const curl = send + url;
  /** @param {string} code
   * @param {number} by */
  const indent = (code, by) => code.replaceAll(/^/gm, " ".repeat(by));
  return {
    curl,
    github: `name: Mollymawk
on: [push, workflow_dispatch]
jobs:
  mollymawk:
    runs-on: ubuntu-latest
    permissions: {}
    steps:
      - name: Call Mollymawk
        env:
          MOLLYGATE_KEY: \${{ secrets.MOLLYGATE_KEY }}
${open ? "          MOLLY: ${{ vars.MOLLY }}\n" : ""}        run: |
${indent(curl, 10)}
`,
    gitlab: `mollymawk:
  image: curlimages/curl
  script:
    - |
${indent(curl, 6)}
`,
    shell: `#!/bin/sh
set -eu
: "\${MOLLYGATE_KEY:?is not set}"
${open ? ': "${MOLLY:?is not set}"\n' : ""}molly() {
${indent(`${send}"$@"`, 2)}
}
molly ${url}
`,
  };
}
