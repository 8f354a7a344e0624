// covers reports whether a grant includes a scope. A grant is the scope's name,
// "resource:*", or "*", which includes all scopes except explicit ones.
export function covers(grant, name) {
  return grant === name || (grant.endsWith(":*") && name.startsWith(grant.slice(0, -1))) || (grant === "*" && !name.startsWith("monitoring:"));
}
