package gate

import (
	"net/http"
	"reflect"
	"testing"
)

func TestSendOnce(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "QUERY"} {
		h := http.Header{"Idempotency-Key": {"a", "b"}, "X-Idempotency-Key": {"c"}, "Accept": {"*/*"}}
		PreventRetries(method, h)
		if want := (http.Header{"idempotency-key": {"a", "b"}, "x-idempotency-key": {"c"},
			"Accept": {"*/*"}}); !reflect.DeepEqual(h, want) {
			t.Errorf("%s: got headers %v, want %v", method, h, want)
		}
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		h := http.Header{"Idempotency-Key": {"a"}}
		PreventRetries(method, h)
		if h["Idempotency-Key"] == nil {
			t.Errorf("%s: got headers %v, want them unchanged", method, h)
		}
	}
}
