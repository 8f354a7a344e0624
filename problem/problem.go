// Package problem is the form of every error that Mollygate answers over HTTP:
// problem details (RFC 9457) that clients of Mollymawk can read too, because they
// carry its envelope's success and data.
package problem

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ContentType is the media type of the body.
const ContentType = "application/problem+json"

// typeBase is where the codes are explained; the code is the anchor.
const typeBase = "https://github.com/mollygate/mollygate/blob/main/docs/errors.md#"

// Problem is an error as its receiver sees it. It never holds a secret.
type Problem struct {
	Status int
	// Code is stable and meant for programs.
	Code string
	// Title is the same for all problems of a code, Detail is about this one and
	// says what to do.
	Title  string
	Detail string
	// Members are added as they are, in order.
	Members []Member
}

// Member is a further member of the body.
type Member struct {
	Name  string
	Value any
}

// With returns the problem with a further member.
func (p Problem) With(name string, value any) Problem {
	p.Members = append(slices.Clip(p.Members), Member{Name: name, Value: value})
	return p
}

// MarshalJSONTo implements json.MarshalerTo.
func (p Problem) MarshalJSONTo(enc *jsontext.Encoder) error {
	members := append([]Member{
		{"type", typeBase + p.Code},
		{"title", p.Title},
		{"status", p.Status},
		{"detail", p.Detail},
		{"code", p.Code},
		{"success", false},
		{"data", p.Detail},
	}, p.Members...)
	if err := enc.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, m := range members {
		if err := enc.WriteToken(jsontext.String(m.Name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(enc, m.Value); err != nil {
			return err
		}
	}
	return enc.WriteToken(jsontext.EndObject)
}

// Write answers a request with the problem. Further headers are set before.
func Write(w http.ResponseWriter, p Problem) {
	body, err := json.Marshal(p, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		// No member of ours can fail; the status is right all the same.
		body = nil
	}
	h := w.Header()
	h.Set("Content-Type", ContentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // the client may be gone
}
