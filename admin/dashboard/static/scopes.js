// covers says whether a grant gives a scope: its name, "resource:*", or "*", which
// gives all but the explicit ones.
export function covers(grant, name) {
  return grant === name || (grant.endsWith(":*") && name.startsWith(grant.slice(0, -1))) || (grant === "*" && !name.startsWith("monitoring:"));
}
