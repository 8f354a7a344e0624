package command

import "testing"

func TestNearest(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"deplo": "deploy", "dpeloy": "deploy", "depl": "deploy", "fulll": "full", "raed": "read", "rea": "read",
		"x": "",
		"":  "", "something": "", "backup": "backup",
	} {
		if got := nearest(word, []string{"backup", "deploy", "full", "read"}); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
