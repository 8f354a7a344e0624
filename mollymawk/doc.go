// Package mollymawk describes Mollymawk's HTTP API to the gate: the routes that accept a
// token, the scope each one requires, the paths that older and newer generations use, and
// the responses that mean Mollymawk refused the upstream token. The gate itself knows
// nothing about Mollymawk, so supporting another backend only takes a similar package.
//
// Source: robur-coop/mollymawk at 1c257b3 and its handbook. The gate refuses requests that
// would crash Mollymawk or make it lose data. From keys that are bound to resources, it also
// refuses requests in which another program might read other names. It leaves all other checks
// to Mollymawk.
package mollymawk
