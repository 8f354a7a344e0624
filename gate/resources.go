package gate

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/mollygate/mollygate/token"
)

// A token that is bound to resources may only send requests that act on these. What a request
// acts on is known once its body is complete, or once the fields before an upload's file are.
// Only what the gate has read this way is forwarded. An upload's fields are forwarded as they
// are, because forms that can be read in several ways are refused.

// Binding is the part of a [Finding] about the resources that a request acts on.
type Binding struct {
	// Targets are the resources that the request acts on. They are read only if the token is
	// bound to resources.
	Targets []token.Resource
	// Read is set once the targets are known, or need not be known.
	Read bool
}

// Bind reads what a call acts on, and returns a refusal if the token may not act on it. call is
// what [Gate.Adapt] has returned. Bind may change it, so that only what it has read is
// forwarded. It does nothing if the token isn't bound to resources.
func (g *Gate) Bind(f *Finding, call *Call) Refusal {
	f.Binding = Binding{Read: true}
	if f.Route == nil || !f.Bound() || f.Route.Targets == nil {
		return f.allowTargets()
	}
	targets, err := f.Route.Targets(call)
	switch invalid, ok := errors.AsType[*BodyError](err); {
	case ok:
		return f.RefuseBody(invalid)
	case err != nil:
		return Refuse(AmbiguousTarget)
	}
	f.Targets = targets
	return f.allowTargets()
}

// BindUpload is like Bind for an upload whose fields have been read.
func (f *Finding) BindUpload(u *Upload) Refusal {
	f.Binding = Binding{Read: true}
	if !f.Bound() {
		return Refusal{}
	}
	if invalid, ok := errors.AsType[*BodyError](u.TargetsErr); ok {
		return f.RefuseBody(invalid)
	}
	f.Targets = u.Targets
	return f.allowTargets()
}

// BindQuery returns a refusal if the token is bound to resources and the query has a parameter
// twice, because programs differ in which one counts. It must be called before [Gate.Adapt],
// which may drop one of them.
func (f *Finding) BindQuery(query string) Refusal {
	if query == "" || !f.Bound() {
		return Refusal{}
	}
	seen := make(map[string]bool)
	for raw := range strings.SplitSeq(query, "&") {
		if raw == "" {
			continue
		}
		name, _, _ := strings.Cut(raw, "=")
		if unescaped, err := url.QueryUnescape(name); err == nil {
			name = unescaped
		}
		if name = strings.ToLower(name); seen[name] {
			return f.RefuseBody(&BodyError{Detail: "The query has a parameter twice."})
		}
		seen[name] = true
	}
	return Refusal{}
}

// RefuseBody returns the refusal for a malformed body. If the token is bound to resources, it
// isn't clear what the request acts on.
func (f *Finding) RefuseBody(err *BodyError) Refusal {
	refusal := Refuse(InvalidRequestBody)
	if f.Bound() {
		refusal = Refuse(AmbiguousTarget)
	}
	refusal.Detail, refusal.Err = err.Detail, err
	return refusal
}

// Bound reports whether the token is bound to resources.
func (f *Finding) Bound() bool { return f.Matched() && len(f.Match.Token.Resources) > 0 }

// allowTargets returns a refusal if the token may not act on the request's targets. Before the
// targets are known, it refuses only requests whose targets can never be known.
func (f *Finding) allowTargets() Refusal {
	if f.Route == nil || !f.Bound() {
		return Refusal{}
	}
	resources := f.Match.Token.Resources
	switch listing := f.Route.Listing; {
	case listing != nil:
		i := slices.IndexFunc(listing.Unnamed, resources.Name)
		if i < 0 {
			return Refusal{}
		}
		return refuseResource("", "The response doesn't say in which "+listing.Unnamed[i]+
			" each "+listing.Type+" is, so the gate can't limit it to this API key's resources.")
	case f.Route.Targets == nil && f.Route.AdaptUpload == nil:
		return refuseResource("", "This API key may act only on "+listed(resources)+
			", and requests on this path can't be limited to these.")
	case !f.Read:
		return Refusal{}
	}
	refused, ok := resources.Allow(f.Targets)
	switch {
	case ok:
		return Refusal{}
	case refused == token.Resource{}:
		return refuseResource("", "This API key may act only on "+listed(resources)+
			", and the request acts on none of these.")
	}
	return refuseResource(refused.String(), "This API key may not act on "+refused.String()+"; it may act only on "+
		listed(resources)+".")
}

func refuseResource(refused, detail string) Refusal {
	r := Refuse(ResourceNotAllowed)
	r.Resource, r.Detail = refused, detail
	return r
}

// listed returns a list for a sentence. A long one is shortened.
func listed(resources token.Resources) string {
	const most = 5
	if n := len(resources); n > most {
		return strings.Join(resources[:most], ", ") + " and others"
	}
	return strings.Join(resources, ", ")
}

// Patterns returns those of the token's resources that cover what an allowed request acts on.
func (f *Finding) Patterns() (patterns []string) {
	if len(f.Targets) == 0 || !f.Bound() {
		return nil
	}
	resources := f.Match.Token.Resources
	for i, pattern := range resources {
		if slices.ContainsFunc(f.Targets, resources[i:i+1].Cover) {
			patterns = append(patterns, pattern)
		}
	}
	return patterns
}

// ListFilter returns the filter for the response to an allowed request, or nil if the response
// isn't filtered. keep reports whether the token may see a listed resource.
func (f *Finding) ListFilter() (filter *Listing, keep func(name string) bool) {
	if f.Route == nil || f.Route.Listing == nil || !f.Bound() {
		return nil, nil
	}
	resources, typ := f.Match.Token.Resources, f.Route.Listing.Type
	return f.Route.Listing, func(name string) bool { return resources.Cover(token.Resource{Type: typ, Name: name}) }
}
