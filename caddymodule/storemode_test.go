package caddymodule

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestWarnAboutPermissions(t *testing.T) {
	t.Parallel()
	const readable, changeable, directory = "may read", "may change", "store's directory"
	for name, test := range map[string]struct {
		file, dir fs.FileMode
		want      []string
	}{
		"default":             {0o600, 0o700, nil},
		"0666":                {0o666, 0o700, []string{changeable}},
		"0644":                {0o644, 0o755, []string{readable}},
		"0640":                {0o640, 0o700, []string{readable}},
		"0604":                {0o604, 0o700, []string{readable}},
		"0620":                {0o620, 0o700, []string{changeable}},
		"0602":                {0o602, 0o700, []string{changeable}},
		"read-only":           {0o400, 0o500, nil},
		"executable":          {0o711, 0o711, nil},
		"world-writable dir":  {0o600, 0o777, []string{directory}},
		"sticky dir":          {0o600, 0o777 | fs.ModeSticky, []string{directory}},
		"group-writable dir":  {0o600, 0o770, nil},
		"both":                {0o666, 0o777, []string{changeable, directory}},
		"no file":             {0, 0o777, []string{directory}},
		"no file, no warning": {0, 0o700, nil},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "tokens.db")
		if test.file != 0 {
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, test.file); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(dir, test.dir); err != nil {
			t.Fatal(err)
		}
		core, logs := observer.New(zapcore.DebugLevel)
		WarnAboutPermissions(zap.New(core), path)
		for i, line := range logs.All() {
			fix, _ := line.ContextMap()["fix"].(string)
			if i >= len(test.want) || !strings.Contains(line.Message, test.want[i]) ||
				line.Level != zapcore.WarnLevel || !strings.HasPrefix(fix, "chmod ") || !strings.Contains(fix, dir) {
				t.Errorf("%s: got warning %q with fields %v", name, line.Message, line.ContextMap())
			}
		}
		if logs.Len() != len(test.want) {
			t.Errorf("%s: got %d warnings, want %d", name, logs.Len(), len(test.want))
		}
		_ = os.Chmod(dir, 0o700)
	}
}
