package command

import (
	"strings"
	"testing"
)

func TestCommandCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := runCommand(nil, "completion", shell); got.code != exitOK || !strings.Contains(got.out, "caddy") ||
			len(got.out) < 1000 || got.err != "" {
			t.Errorf("%s: got %d bytes of output, standard error %q", shell, len(got.out), got.err)
		}
	}
	if got := runCommand(nil, "completion", "bash"); !strings.Contains(got.out, "__complete") {
		t.Error("the completion script doesn't call caddy")
	}
}
