package faults

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"time"
)

const (
	// missing is the version of a token that doesn't exist yet, and deleted that of a token
	// that has been deleted.
	missing uint64 = 0
	deleted uint64 = math.MaxUint64
)

// version is a version of a token that exists or may have existed.
type version struct {
	number       uint64
	name, status string
	// secret is the number of the secret that works, unless a rotation with an unknown outcome
	// has replaced it.
	secret int
	// from is the earliest time at which the version can have come into being, and acked the
	// earliest time at which a client knew of it.
	from, acked time.Duration
}

// knowledge is what the clients know about a token's versions.
type knowledge struct {
	// versions are sorted by number. The first is missing.
	versions []version
	// unknown holds the changes with an unknown outcome.
	unknown []operation
}

// learn returns what the operations say about each token.
func learn(operations []operation) map[string]*knowledge {
	byToken := make(map[string][]operation)
	for _, o := range operations {
		byToken[o.Token] = append(byToken[o.Token], o)
	}
	tokens := make(map[string]*knowledge)
	for token, list := range byToken {
		tokens[token] = learnToken(list)
	}
	return tokens
}

func learnToken(operations []operation) *knowledge {
	k := new(knowledge)
	firstUnknown := forever
	for _, o := range operations {
		if o.Unknown && o.Action != get && o.Action != lookup {
			k.unknown = append(k.unknown, o)
			firstUnknown = min(firstUnknown, o.Call)
		}
	}
	found := make(map[uint64]*version)
	note := func(number uint64, o operation) *version {
		v := found[number]
		if v == nil {
			v = &version{number: number, from: firstUnknown, acked: forever}
			found[number] = v
		}
		v.acked = min(v.acked, o.Return)
		if o.Action != get && o.Action != lookup {
			v.from = min(v.from, o.Call)
		}
		return v
	}
	secrets := make(map[uint64]int) // by the version from which they work
	for _, o := range operations {
		switch {
		case o.Unknown:
		case o.Got != nil:
			v := note(o.Got.Version, o)
			v.name, v.status = o.Got.Name, o.Got.Status
			if o.Action == create || o.Action == rotate {
				secrets[v.number] = o.Secret
			}
		case o.Action == remove && o.Status == http.StatusNoContent:
			note(deleted, o)
		}
	}
	k.versions = append(k.versions, version{number: missing, from: -1, acked: -1})
	for _, v := range found {
		k.versions = append(k.versions, *v)
	}
	slices.SortFunc(k.versions, func(a, b version) int { return cmp.Compare(a.number, b.number) })
	secret := 0
	for i := range k.versions {
		v := &k.versions[i]
		if replaced, ok := secrets[v.number]; ok {
			secret = replaced
		}
		v.secret = secret
	}
	return k
}

// oldest returns the oldest version that may be seen at a time, if versions that were
// acknowledged earlier must be seen.
func (k *knowledge) oldest(at time.Duration) (number uint64) {
	for _, v := range k.versions {
		if v.acked < at {
			number = max(number, v.number)
		}
	}
	return number
}

// matches reports whether a sighting shows a version.
func (v version) matches(s sighting) bool {
	switch {
	case v.number == missing:
		return s.Code == "unknown_token"
	case v.number == deleted, v.secret != s.Secret:
		return s.Code == "unknown_token" || s.Code == "revoked_token"
	case v.status == "revoked":
		return s.Code == "revoked_token"
	case v.status == "disabled":
		return s.Code == "disabled_token"
	}
	return s.Status == http.StatusOK && s.Name == v.name
}

// match returns the oldest version that a sighting can show, of the given number or newer.
func (k *knowledge) match(s sighting, from uint64) (number uint64, ok bool) {
	for _, v := range k.versions {
		if v.number >= from && v.from < s.Return && v.matches(s) {
			return v.number, true
		}
	}
	return 0, false
}

// explained reports whether a sighting can show a version that a change with an unknown
// outcome has made. It also reports true if the gate can be refusing the token until it knows
// the change's outcome.
func (k *knowledge) explained(s sighting) bool {
	return slices.ContainsFunc(k.unknown, func(o operation) bool {
		if o.Call >= s.Return {
			return false
		}
		switch s.Code {
		case "unknown_token":
			return o.Action == rotate || o.Action == remove
		case "revoked_token":
			return o.Action == revoke || o.Action == rotate || o.Action == remove
		case "disabled_token":
			return o.Action == disable
		}
		return s.Status == http.StatusOK && (o.Action == enable || o.Action == edit && o.Name == s.Name)
	})
}

// inDoubt reports whether the gate may not know the outcome of one of its own changes to the
// token. It then refuses the token with 503 unless it knows a more restrictive state.
func (k *knowledge) inDoubt(s sighting) bool {
	return slices.ContainsFunc(k.unknown, func(o operation) bool { return o.Gate == s.Gate && o.Call < s.Return })
}
